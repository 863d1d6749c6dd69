import { defineConfig, duration, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { readJson } from '../../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { outputWidth, print, printJson } from '../output.ts'
import { type Column, tableLines } from '../table.ts'
import { splitWords } from '../words.ts'
import { changeSettings, fieldsOf, wishSettings } from './wishes.ts'

/** The part of a key that the commands show; `--json` passes on what the gateway says. */
const Key = z.looseObject({
  id: z.string(),
  name: z.string(),
  scopes: z.array(z.string()),
  models: z.array(z.string()).optional(),
  limits: z.record(z.string(), z.number()).optional(),
  expires_at: z.string().optional(),
  previous_until: z.string().optional(),
})
type Key = z.infer<typeof Key>
const NewKey = Key.extend({ key: z.string() })

const common = { ...clientSettings, ...jsonSetting }
const createConfig = defineConfig('cli', { ...common, ...wishSettings })
const setConfig = defineConfig('cli', { ...common, ...changeSettings })
const listConfig = defineConfig('cli', common)
const rotateConfig = defineConfig('cli', { ...common, grace: setting({ schema: duration({ min: 0, max: 7 * 24 * 3_600_000 }).prefault('0s'), describe: 'the old secret still opens for so long' }) })

const one = (words: readonly string[], what: string, usage: string): string => {
  const [word = '', ...more] = words
  if (word === '' || more.length > 0) throw new ExitError(`expected one ${what}: ${usage}`)
  return word
}

const given = (json: boolean, key: z.infer<typeof NewKey>, what: string): void => {
  if (json) return printJson(key)
  process.stderr.write(`${what}, shown this once; keep it where secrets are kept:\n`)
  print(key.key)
}

/** `drover keys create NAME`: only the key goes to standard output. */
const create = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover keys create NAME [--scope SCOPE …] [--model MODEL …] [limits] [--json]'
  const { words, flags } = splitWords(createConfig.settings, argv)
  const { values } = loadConfig(createConfig, { argv: flags, usage })
  const wish = { name: one(words, 'name', usage), ...fieldsOf(values) }
  const { value } = await readJson(gatewayOf(values), '/api/keys', NewKey, JSON.stringify(wish))
  given(values.json, value, `key ${value.id} (${value.name})`)
}

const SHORT: Record<string, string> = { requests_per_minute: 'req/min', tokens_per_minute: 'tok/min', tokens_per_day: 'tok/day', concurrent: 'at once', queued: 'waiting' }
const columns: Column<Key>[] = [
  { title: 'ID', cell: ({ id }) => id },
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'SCOPES', cell: ({ scopes }) => scopes.join(', ') },
  { title: 'MODELS', cell: ({ models }) => models?.join(', ') ?? 'all' },
  { title: 'LIMITS', cell: ({ limits = {} }) => Object.entries(limits).map(([name, limit]) => `${limit} ${SHORT[name] ?? name}`).join(', ') },
  { title: 'EXPIRES', cell: ({ expires_at: at }) => at ?? 'never' },
]

/** `drover keys list`. */
const list = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(listConfig, { argv, usage: 'drover keys list [--json]' })
  const { value } = await readJson(gatewayOf(values), '/api/keys', z.object({ keys: z.array(Key) }))
  if (values.json) return printJson(value)
  if (value.keys.length === 0) return print('there is no key: make one with "drover keys create NAME --scope admin"')
  for (const line of tableLines(columns, value.keys, outputWidth())) print(line)
}

const pathOf = (id: string): string => `/api/keys/${encodeURIComponent(id)}`

/** `drover keys set ID`: what is said changes, at once, on all gateways; its secret stays. */
const set = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover keys set ID [--name NAME] [--scope SCOPE …] [--model MODEL …] [limits, or none for each] [--json]'
  const { words, flags } = splitWords(setConfig.settings, argv)
  const { values } = loadConfig(setConfig, { argv: flags, usage })
  const id = one(words, 'key', usage)
  const change = { ...(values.name !== undefined && { name: values.name }), ...fieldsOf(values) }
  if (Object.keys(change).length === 0) throw new ExitError(`nothing is to change: ${usage}`)
  const { value } = await readJson(gatewayOf(values), pathOf(id), Key, JSON.stringify(change), 'PATCH')
  if (values.json) return printJson(value)
  for (const line of tableLines(columns, [value], outputWidth())) print(line)
}

/** `drover keys revoke ID`: at once, on all gateways. */
const revoke = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover keys revoke ID [--json]'
  const { words, flags } = splitWords(listConfig.settings, argv)
  const { values } = loadConfig(listConfig, { argv: flags, usage })
  const id = one(words, 'key', usage)
  const { value } = await readJson(gatewayOf(values), pathOf(id), z.looseObject({ id: z.string() }), undefined, 'DELETE')
  if (values.json) printJson(value)
  else print(`key ${id} is revoked`)
}

/** `drover keys rotate ID`: another secret for the same key. */
const rotate = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover keys rotate ID [--grace TIME] [--json]'
  const { words, flags } = splitWords(rotateConfig.settings, argv)
  const { values } = loadConfig(rotateConfig, { argv: flags, usage })
  const id = one(words, 'key', usage)
  const { value } = await readJson(gatewayOf(values), `${pathOf(id)}/rotate`, NewKey, JSON.stringify({ grace_s: Math.ceil(values.grace / 1_000) }))
  given(values.json, value, `the new secret of key ${id} (${value.name})`)
}

const COMMANDS: Record<string, (argv: readonly string[]) => Promise<void>> = { create, list, set, revoke, rotate }

/** `drover keys create|list|set|revoke|rotate`: a thin client of `/api/keys`. */
export const keys = async ([name = '', ...argv]: readonly string[]): Promise<void> => {
  const run = COMMANDS[name]
  if (!run) throw new ExitError(`expected a command: drover keys ${Object.keys(COMMANDS).join('|')}`, name === '--help' || name === '-h' ? 0 : undefined)
  await run(argv)
}
