import type { ClusterMember, ModelShape } from '@drover/core'

/** Memory of llama-server's own process, as `Placement` calls it. */
export const OWN = 'CPU'

/**
 * Where a llama-server says that it has put its model. A device is `host:port` of an rpc-server, llama.cpp's name of a card of its own
 * (`CUDA0`), or `OWN`. Bytes come from its log with two decimals of a MiB.
 */
export interface Placement {
  /** Devices in the order in which they are given layers; never `OWN`. */
  devices: string[]
  /** Layers that lie on `devices`, what comes behind the last layer counted as one, and how many there are so counted. Absent: not said. */
  offloaded?: { layers: number; of: number }
  /** Bytes of weights. Of `OWN` it is no measure: what is mapped from the file reaches from its first tensor to its last. */
  weights: Map<string, number>
  /** Bytes of KV cache. */
  kv: Map<string, number>
  /** Bytes of room to compute in. */
  compute: Map<string, number>
}

const MIB = 1024 * 1024
/** Half of the last decimal. */
const ROUNDING = 0.005 * MIB

const DEVICE = /llama_prepare_model_devices: using device (\S+) \((.*?)\) \(/
const OFFLOADED = /load_tensors: offloaded (\d+)\/(\d+) layers to GPU/
const BUFFER = /: +([^\s[]+)(?:\[(.+)\])? (model|KV|RS|compute) buffer size = +([\d.]+) MiB/

/** Reads one after the other the lines of a llama-server that was started with verbosity 4. */
export const placementReader = () => {
  const placement: Placement = { devices: [], weights: new Map(), kv: new Map(), compute: new Map() }
  return {
    placement,
    read(line: string): void {
      const [, device, description] = DEVICE.exec(line) ?? []
      if (device !== undefined) placement.devices.push(device.startsWith('RPC') ? (description ?? '') : device)
      const [, layers, of] = OFFLOADED.exec(line) ?? []
      if (layers !== undefined) placement.offloaded = { layers: Number(layers), of: Number(of) }
      const [, name = '', address, what, size] = BUFFER.exec(line) ?? []
      if (what === undefined) return
      // Besides its plain memory it has some that is mapped from the file, laid out anew, or that cards read: `CPU_Mapped`, `CPU_REPACK`, `CUDA_Host`.
      const where = address ?? (/^CPU|_Host$/.test(name) ? OWN : name)
      const to = what === 'model' ? placement.weights : what === 'compute' ? placement.compute : placement.kv
      to.set(where, (to.get(where) ?? 0) + Number(size) * MIB)
    },
  }
}

/** A part of a plan, and the device on which it is to lie, as `Placement` calls that. */
export interface Planned {
  device: string
  member: ClusterMember
}

/**
 * The first thing in which what came of a plan differs from it, in words; `undefined`: each layer lies where it was planned. Layers follow
 * each other in the order of the devices, so which of them one has is told by its bytes, to within half of the smallest layer. KV cache
 * may take less than planned, as that of a sliding window does, but no more.
 */
export const differenceFrom = (planned: readonly Planned[], shape: ModelShape, placement: Placement): string | undefined => {
  const { layers, output } = shape
  const spread = planned.filter(({ device }) => device !== OWN)
  const order = spread.map(({ device }) => device).join(', ')
  const found = placement.devices.join(', ')
  if (found !== order) return `layers were to go to ${order || 'no device'}, and go to ${found || 'none'}`
  const wanted = spread.reduce((count, { member }) => count + member.to - member.from + (member.output ? 1 : 0), 0)
  const { offloaded } = placement
  if (offloaded?.layers !== wanted || offloaded.of !== layers.length + 1)
    return `${wanted} of ${layers.length + 1} layers were to lie on devices, and ${offloaded ? `${offloaded.layers} of ${offloaded.of} do` : 'how many do was not said'}`
  const slack = Math.min(Infinity, ...layers.filter((bytes) => bytes > 0)) / 2
  for (const { device, member: { from, to, output: last } } of spread) {
    const bytes = sum(layers.slice(from, to)) + (last ? output : 0)
    const there = placement.weights.get(device) ?? 0
    if (Math.abs(there - bytes) < slack) continue
    return `${device} was to have ${layersOf(from, to)} (${inMib(bytes)}), and has ${layersOf(from, endOf(shape, from, there))} (${inMib(there)})`
  }
  for (const { device, member: { kv } } of planned) {
    const there = placement.kv.get(device) ?? 0
    if (there > kv * MORE_KV + ROUNDING) return `${device} was to have ${inMib(kv)} of KV cache, and has ${inMib(there)}`
  }
  return undefined
}

/** What the cells of a cache that come in dozens may add. */
const MORE_KV = 1.02

const sum = (all: readonly number[]): number => all.reduce((total, each) => total + each, 0)
const inMib = (bytes: number): string => `${(bytes / MIB).toFixed(2)} MiB`
const layersOf = (from: number, to: number): string => (to > from ? `layers ${from} to ${to - 1}` : 'no layers')

/** The layer that comes behind those which have so many bytes, the first of them being `from`. */
const endOf = ({ layers }: ModelShape, from: number, bytes: number): number => {
  let to = from
  for (let left = bytes; to < layers.length && left >= (layers[to] ?? 0) / 2; to += 1) left -= layers[to] ?? 0
  return to
}
