import { defineConfig, loadConfig } from '@drover/service'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { outputWidth, print, printJson } from '../output.ts'
import { type Column, tableLines } from '../table.ts'
import { readDescribed, type Described } from './described.ts'

const stateConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })

const wishText = (wish: Record<string, unknown>): string =>
  Object.entries(wish)
    .map(([name, value]) => (value === true ? name : `${name}=${Array.isArray(value) ? value.join(',') : typeof value === 'object' ? JSON.stringify(value) : String(value)}`))
    .join(' ')

/** What is missing of a model, what is being done about it, and what went wrong. */
const newsOf = ({ drift, actions, failures }: Described, isOf: (name: string) => boolean): string[] => [
  ...drift.filter(({ model }) => isOf(model)).map(({ model, text }) => text.slice(model.length + 2)),
  ...actions.filter(({ model }) => isOf(model)).map(({ completed, total, ...change }) => `${change.action} on ${change.node}${total ? ` ${Math.floor((100 * (completed ?? 0)) / total)}%` : ''}`),
  ...failures.filter(({ model }) => isOf(model)).map(({ error, tries, ...change }) => `${change.action} on ${change.node} failed (try ${tries}): ${error}`),
]

/** `drover models state`: what is described, and what is not so. */
export const state = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(stateConfig, { argv, usage: 'drover models state [--json]' })
  const described = await readDescribed(gatewayOf(values))
  if (values.json) return printJson(described)
  const { models, prune } = described.desired
  const names = new Map(Object.keys(models).map((name) => [name.toLowerCase(), name]))
  const rowOf = (model: string) => names.get(model) ?? names.get(model.replace(/:latest$/, '')) ?? model
  const rows = [...new Set([...names.values(), ...[...described.drift, ...described.actions].map(({ model }) => rowOf(model))])]
  if (rows.length === 0) return print('nothing is described: see drover models apply --help')
  const columns: Column<string>[] = [
    { title: 'MODEL', cell: (name) => name },
    { title: 'DESCRIBED', cell: (name) => (models[name] ? wishText(models[name]) || 'one copy' : 'no longer') },
    { title: 'STATE', cell: (name) => newsOf(described, (model) => rowOf(model) === name).join('; ') || 'as described' },
  ]
  for (const line of tableLines(columns, rows, outputWidth())) print(line)
  if (prune) process.stderr.write('copies that were brought and are no longer wanted are deleted\n')
}
