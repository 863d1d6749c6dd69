import { defineConfig, loadConfig } from '@drover/service'
import { z } from 'zod'
import { type Gateway, readJson } from '../../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { outputWidth, print, printJson } from '../output.ts'
import { type Column, tableLines } from '../table.ts'
import { layersOf, Member } from './members.ts'
import { size } from '../units.ts'

const Cluster = z.looseObject({
  model: z.string(),
  coordinator: z.string(),
  state: z.string(),
  members: z.array(Member),
  slots: z.number(),
  context_length: z.number(),
  tokens_per_second: z.number().nullable(),
})
export type Cluster = z.infer<typeof Cluster>
const Clusters = z.object({ clusters: z.array(Cluster) })

/** The models that run over several nodes. Throws as `readJson` does. */
export const readClusters = async (gateway: Gateway): Promise<Cluster[]> => (await readJson(gateway, '/api/clusters', Clusters)).value.clusters

export const perSecond = (tokens: number): string => `${tokens.toFixed(1)} tokens/s`

interface Row {
  cluster: Cluster
  member: Member
}

const columns: Column<Row>[] = [
  { title: 'MODEL', cell: ({ cluster }) => cluster.model },
  { title: 'COORDINATOR', cell: ({ cluster }) => cluster.coordinator },
  { title: 'STATE', cell: ({ cluster }) => cluster.state },
  { title: 'SPEED', cell: ({ cluster: { tokens_per_second: tokens } }) => (tokens === null ? '' : perSecond(tokens)), right: true },
  { title: 'SLOTS', cell: ({ cluster }) => `${cluster.slots} of ${cluster.context_length}`, right: true },
  { title: 'MEMBER', cell: ({ member }) => `${member.node} ${member.device}` },
  { title: 'LAYERS', cell: ({ member }) => layersOf(member) },
  { title: 'SIZE', cell: ({ member }) => size(member.total), right: true },
]

const clustersConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })

/** `drover clusters`: the models that run over several nodes, a line for each part. */
export const clusters = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(clustersConfig, { argv, usage: 'drover clusters [--json]' })
  const all = await readClusters(gatewayOf(values))
  if (values.json) return printJson({ clusters: all })
  if (all.length === 0) return print('no model runs over several nodes just now: that begins when a job needs it ("drover plan MODEL" tells how it would)')
  const rows = all.flatMap((cluster) => cluster.members.map((member) => ({ cluster, member })))
  for (const line of tableLines(columns, rows, outputWidth())) print(line)
}
