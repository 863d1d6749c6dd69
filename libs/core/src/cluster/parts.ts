import { besidesOn } from './devices.ts'
import type { Device } from './devices.ts'
import type { PlanRequest } from './plan.ts'
import { kvBytes, outputRoom } from './room.ts'
import type { RunSizes } from './room.ts'
import type { ModelShape } from './shape.ts'
import { MOST_DEVICES } from './split.ts'
import { spread } from './spread.ts'

/** A run of items on a device: `from` to, but without, `to`, of the layers and of the output as one more behind them. */
export interface Part {
  device: Device
  from: number
  to: number
}

/** Bytes that each layer takes with its cache, and the output with its room to compute, which nothing else needs. */
export const costsOf = (shape: ModelShape, run: RunSizes): number[] => [
  ...shape.layers.map((weights, i) => weights + kvBytes(shape.kv[i] ?? 0, run)),
  shape.output + outputRoom(shape, run),
]

/** Bytes of a device that layers and output may take. */
export const roomOn = (device: Device, request: PlanRequest, alone: boolean): number => device.usable - besidesOn(device, request, alone)

/** The whole model over the fewest devices, if it fits. */
export const partsOf = (request: PlanRequest, devices: readonly Device[]): Part[] | undefined => {
  const all = { from: 0, to: request.shape.layers.length + 1 }
  return spreadOver(request, devices, { ...all, alone: true }) ?? spreadOver(request, devices, { ...all, alone: false })
}

/** Each node's layers, over the fewest of its devices; what is wrong where that cannot be. */
export const partsAsAsked = (request: PlanRequest, devices: readonly Device[], ranges: NonNullable<PlanRequest['wish']['layers']>): Part[] | string => {
  const { shape, coordinator } = request
  const count = shape.layers.length
  const asked = Object.entries(ranges).map(([node, [from, to]]) => ({ node, from, to })).filter(({ from, to }) => to > from).toSorted((a, b) => a.from - b.from)
  const whole = asked.every(({ from }, i) => from === (asked[i - 1]?.to ?? 0)) && asked.at(-1)?.to === count
  if (!whole) return `the layers asked for are not 0 to ${count}, each of them once`
  if (asked.slice(1).some(({ node }) => node === coordinator)) return `the layers of ${coordinator}, which coordinates, have to be the first`
  const parts: Part[] = []
  for (const { node, from, to } of asked) {
    const there = devices.filter((device) => device.node === node)
    if (there.length === 0) return `${node} lends nothing`
    const run = { from, to: to === count ? to + 1 : to }
    const found = asked.length === 1 ? partsOf(request, there) : spreadOver(request, there, { ...run, alone: false })
    if (!found) return `layers ${from} to ${to} do not fit on ${node}`
    parts.push(...found)
  }
  return parts.length > MOST_DEVICES ? `the layers asked for lie on more than ${MOST_DEVICES} devices` : parts
}

/** How finely devices of different speed are told apart, and how much slower one counts at most. */
const STEPS = 16
const MOST_STEPS = 1_024

const spreadOver = (request: PlanRequest, devices: readonly Device[], { from, to, alone }: { from: number; to: number; alone: boolean }): Part[] | undefined => {
  const roomy = devices.flatMap((device) => {
    const room = roomOn(device, request, alone)
    return room > 0 ? [{ device, room }] : []
  })
  const fastest = Math.max(...roomy.map(({ device }) => device.speed))
  const bins = roomy.map(({ device: { group, speed }, room }) => ({ group, room, slowness: Math.round(STEPS * Math.min(MOST_STEPS / STEPS, fastest / speed)) }))
  const shares = spread(costsOf(request.shape, request.wish).slice(from, to), bins, alone ? 1 : MOST_DEVICES)
  return shares?.flatMap(({ bin, ...share }) => {
    const device = roomy[bin]?.device
    return device ? [{ device, from: share.from + from, to: share.to + from }] : []
  })
}
