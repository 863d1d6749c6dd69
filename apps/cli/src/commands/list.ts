import { defineConfig, loadConfig } from '@drover/service'
import { readStatus, readTags, type Tag } from '../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from './client-settings.ts'
import { outputWidth, print, printJson } from './output.ts'
import { digestsDiffer, nodeNames, type Place, placesOf } from './places.ts'
import { type Column, tableLines } from './table.ts'
import { short, size } from './units.ts'

const listConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })

interface Listed {
  tag: Tag
  places: readonly Place[]
}

const columns: Column<Listed>[] = [
  { title: 'NAME', cell: ({ tag }) => tag.name },
  { title: 'ID', cell: ({ tag, places }) => `${short(tag.digest)}${digestsDiffer(places) ? ' (differs)' : ''}` },
  { title: 'SIZE', cell: ({ tag }) => size(tag.size), right: true },
  { title: 'QUANTIZATION', cell: ({ tag }) => tag.details.quantization_level ?? '' },
  { title: 'NODES', cell: ({ places }) => nodeNames(places).join(', ') },
]

const asJson = ({ tag, places }: Listed) => ({
  name: tag.name,
  digest: tag.digest,
  digests_differ: digestsDiffer(places),
  size: tag.size,
  modified_at: tag.modified_at,
  family: tag.details.family || null,
  parameter_size: tag.details.parameter_size || null,
  quantization: tag.details.quantization_level || null,
  context_length: tag.details.context_length ?? null,
  capabilities: tag.capabilities ?? null,
  nodes: nodeNames(places),
})

/** `drover list`: the models of all nodes. */
export const list = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(listConfig, { argv, usage: 'drover list [--json]' })
  const gateway = gatewayOf(values)
  const [tags, { status }] = await Promise.all([readTags(gateway), readStatus(gateway)])
  const places = placesOf(status)
  const models = tags.map((tag) => ({ tag, places: places.get(tag.name) ?? [] }))
  if (values.json) return printJson({ models: models.map(asJson) })
  for (const line of tableLines(columns, models, outputWidth())) print(line)
}
