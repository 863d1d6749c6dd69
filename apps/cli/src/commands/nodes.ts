import { loadConfig, defineConfig } from '@drover/service'
import { type NodeStatus, readStatus } from '../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from './client-settings.ts'
import { outputWidth, print, printJson } from './output.ts'
import { slotsOf } from './places.ts'
import { type Column, tableLines } from './table.ts'
import { gib, span } from './units.ts'

const nodesConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })

const graphics = ({ gpus, memory }: NodeStatus): string =>
  gpus.length > 0 ? gpus.map(({ name, free, memory: total }) => `${name} ${gib(free)}${total ? `/${gib(total)}` : ''}`).join(', ') : memory ? `RAM ${gib(memory.free)}/${gib(memory.total)}` : ''

const columns: Column<NodeStatus>[] = [
  { title: 'NODE', cell: ({ id, draining, drained }) => (drained ? `${id} (drained)` : draining ? `${id} (draining)` : id) },
  { title: 'VERSION', cell: ({ version = '' }) => version },
  { title: 'ENGINES', cell: ({ engines }) => engines.map(({ kind, version }) => (version === undefined ? kind : `${kind} ${version}`)).join(', ') },
  { title: 'MODELS', cell: ({ engines }) => `${modelNames(engines).length}`, right: true },
  { title: 'BUSY', cell: (node) => `${slotsOf(node).busy}/${slotsOf(node).slots}`, right: true },
  { title: 'FREE GIB', cell: graphics },
  { title: 'LABELS', cell: ({ labels = {} }) => Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(',') },
  { title: 'SEEN', cell: ({ last_seen_ms: ms }) => (ms === undefined ? '' : `${span(ms)} ago`) },
]

const modelNames = (engines: NodeStatus['engines']): string[] => [...new Set(engines.flatMap(({ models }) => models.map(({ model }) => model)))]

const asJson = (node: NodeStatus) => ({
  id: node.id,
  version: node.version ?? null,
  draining: node.draining,
  drained: node.drained ?? false,
  preference: node.preference ?? 0,
  labels: node.labels ?? {},
  ...slotsOf(node),
  memory: node.memory ?? null,
  gpus: node.gpus,
  engines: node.engines.map(({ id, kind, version, models }) => ({
    id,
    kind,
    version: version ?? null,
    models: models.map(({ model, loaded, slots, busy }) => ({ model, loaded, slots, busy })),
  })),
  last_seen_ms: node.last_seen_ms ?? null,
})

/** `drover nodes`: who is there, with what, and how busy. */
export const nodes = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(nodesConfig, { argv, usage: 'drover nodes [--json]' })
  const { status } = await readStatus(gatewayOf(values))
  if (values.json) return printJson({ nodes: status.nodes.map(asJson) })
  if (status.nodes.length === 0) return print(NO_NODES)
  for (const line of tableLines(columns, status.nodes, outputWidth())) print(line)
}

export const NO_NODES = 'no nodes: start a worker where the models are, with "drover worker"'
