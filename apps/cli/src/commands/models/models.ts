import { defineConfig, EXIT, ExitError, loadConfig } from '@drover/service'
import { readStatus, readTags } from '../../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { NO_NODES } from '../nodes.ts'
import { outputWidth, print, printJson } from '../output.ts'
import { placesOf } from '../places.ts'
import { LEGEND, matrixJson, matrixLines } from './matrix.ts'
import { nodesSetting } from './nodes-setting.ts'

const modelsConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting, node: { ...nodesSetting.node, describe: 'a node to show; may be given several times; else all' } })

/** `drover models`: which models are on which nodes, and in whose memory. */
export const models = async (argv: readonly string[]): Promise<void> => {
  // They bring more with them than this.
  if (/^(apply|diff|state)$/.test(argv[0] ?? '')) return (await import('./desired.ts')).desiredWords[argv[0] ?? '']?.(argv.slice(1))
  const { values } = loadConfig(modelsConfig, { argv, usage: 'drover models [apply|diff|state] [--node NAME]… [--json]' })
  const gateway = gatewayOf(values)
  const [tags, { status }] = await Promise.all([readTags(gateway), readStatus(gateway)])
  const there = status.nodes.map(({ id }) => id).toSorted()
  const stranger = values.node.find((node) => !there.includes(node))
  if (stranger !== undefined) throw new ExitError(`node '${stranger}' is not there`, EXIT.failed)
  const nodes = values.node.length > 0 ? values.node : there
  const places = placesOf(status)
  const rows = tags
    .map((tag) => ({ tag, places: (places.get(tag.name) ?? []).filter(({ node }) => nodes.includes(node)) }))
    .filter((row) => values.node.length === 0 || row.places.length > 0)
    .toSorted((a, b) => (a.tag.name < b.tag.name ? -1 : 1))
  const now = Date.now()
  if (values.json) return printJson({ nodes, models: rows.map((row) => matrixJson(row, now)) })
  if (there.length === 0) return print(NO_NODES)
  for (const line of matrixLines(rows, nodes, outputWidth())) print(line)
  if (process.stdout.isTTY && rows.length > 0) print(`\n${LEGEND}`)
}
