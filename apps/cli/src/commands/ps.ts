import { defineConfig, loadConfig } from '@drover/service'
import { readRunning, readStatus, type Running } from '../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from './client-settings.ts'
import { outputWidth, print, printJson } from './output.ts'
import { type Place, placesOf } from './places.ts'
import { type Column, tableLines } from './table.ts'
import { expiry, size, until } from './units.ts'

const psConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })

/** A model in the memory of one engine; what its own node does not tell is what the gateway says of the model as a whole. */
interface Loaded {
  name: string
  node: string
  others: string[]
  engine: string
  size: number
  sizeVram: number
  slots: number
  busy: number
  contextLength: number | undefined
  expiresAt: string | undefined
}

const loaded = ({ name, ...whole }: Running, places: readonly Place[]): Loaded[] =>
  places
    .filter(({ held }) => held.loaded)
    .map(({ node, others, engine, held: { slots, busy, memory } }) => {
      const own = memory ?? whole
      return { name, node, others, engine, size: own.size, sizeVram: own.size_vram, slots, busy, contextLength: own.context_length, expiresAt: own.expires_at }
    })

const processor = ({ size, sizeVram }: Loaded): string => {
  if (size === 0 || sizeVram === 0) return ''
  const share = Math.min(100, Math.round((100 * sizeVram) / size))
  return share === 100 ? '100% GPU' : `${share}% GPU`
}

const columns = (now: number): Column<Loaded>[] => [
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'NODE', cell: ({ node, others }) => (others.length === 0 ? node : `${node} + ${others.join(', ')}`) },
  { title: 'ENGINE', cell: ({ engine }) => engine },
  { title: 'SIZE', cell: (each) => size(each.size), right: true },
  { title: 'PROCESSOR', cell: processor },
  { title: 'CONTEXT', cell: ({ contextLength }) => `${contextLength ?? ''}`, right: true },
  { title: 'BUSY', cell: ({ busy, slots }) => `${busy}/${slots}`, right: true },
  { title: 'UNTIL', cell: ({ expiresAt }) => until(expiresAt, now) },
]

/** `drover ps`: the models in memory, and where. */
export const ps = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(psConfig, { argv, usage: 'drover ps [--json]' })
  const gateway = gatewayOf(values)
  const [running, { status }] = await Promise.all([readRunning(gateway), readStatus(gateway)])
  const places = placesOf(status)
  const models = running.flatMap((each) => loaded(each, places.get(each.name) ?? []))
  const now = Date.now()
  if (values.json) {
    return printJson({
      models: models.map(({ name, node, others, engine, size, sizeVram, contextLength, slots, busy, expiresAt }) => ({
        name, node, others, engine, size, size_vram: sizeVram, context_length: contextLength ?? null, slots, busy, expires_at: expiry(expiresAt, now) ?? null,
      })),
    })
  }
  for (const line of tableLines(columns(now), models, outputWidth())) print(line)
}
