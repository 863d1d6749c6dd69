import type { EngineStatus, NodeStatus } from './gateway-client.ts'

const GIB = 1024 ** 3
const gib = (bytes: number): string => (bytes / GIB).toFixed(1)

const modelText = ({ model, loaded, slots, busy }: EngineStatus['models'][number]): string =>
  `${model} (${busy}/${slots} busy${loaded ? ', loaded' : ''})`

const engineLine = ({ id, kind, version, models }: EngineStatus): string =>
  `  ${kind}${version === undefined ? '' : ` ${version}`} at ${id}: ${models.map(modelText).join(', ') || 'no models'}`

/** A node and its engines, for people. */
export const nodeLines = ({ id, engines, draining, drained, memory, gpus }: NodeStatus): string[] => [
  `node ${id}${drained ? ' (drained)' : draining ? ' (draining)' : ''}:${memory ? ` ${gib(memory.free)} of ${gib(memory.total)} GiB free` : ' engines elsewhere'}` +
    gpus.map(({ name, free }) => `, ${name} ${gib(free)} GiB free`).join(''),
  ...(engines.length === 0 ? ['  no engine'] : engines.map(engineLine)),
]

/** A model that a first request can be tried on: one that writes text, rather one that is in memory already. */
export const firstModel = (nodes: readonly NodeStatus[]): string | undefined => {
  const writers = nodes
    .filter(({ draining }) => !draining)
    .flatMap(({ engines }) => engines.flatMap(({ models }) => models))
    .filter(({ capabilities }) => capabilities === undefined || capabilities.includes('completion'))
  return (writers.find(({ loaded }) => loaded) ?? writers[0])?.model
}
