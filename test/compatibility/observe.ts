import { isDeepStrictEqual } from 'node:util'
import type { DialectId } from '@drover/core'
import { dialects } from '@drover/dialects'
import fc from 'fast-check'
import { arbitraryOf } from '../../libs/dialects/src/testing/samples.ts'
import type { ScriptedEngine } from '../engine/server.ts'
import { send } from '../support/raw.ts'
import { BASES } from './fields.ts'

type Json = Record<string, unknown>
const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Where requests go in, and the engine that they end at. */
export interface Way {
  gateway: string
  engine: ScriptedEngine
  model: string
}

interface Seen {
  status: number
  error: string | undefined
  ignored: string[]
  /** Path and body of what the engine was asked; nothing where it was not. */
  path: string | undefined
  body: Json | undefined
}

const errorText = (text: string): string => {
  const { error } = JSON.parse(text) as { error?: string | { message?: string } }
  return typeof error === 'string' ? error : (error?.message ?? text)
}

const ask = async ({ gateway, engine }: Way, path: string, body: Json): Promise<Seen> => {
  await engine.admin.reset()
  const { status, headers, text } = await send(gateway + path, { body: JSON.stringify(body) })
  const asked = (await engine.admin.stats()).last.at(-1)
  return {
    status,
    error: status === 200 ? undefined : errorText(text),
    ignored: String(headers['x-drover-ignored'] ?? '').split(', '),
    path: asked?.path,
    body: asked && (JSON.parse(asked.body) as Json),
  }
}

const saysSomething = (value: unknown): boolean =>
  value !== '' && value !== 0 && value !== false && !(typeof value === 'object' && value !== null && Object.keys(value).length === 0)

/** A value that the schema lets through and that says something. Always the same one. */
const pick = (schema: Json): unknown => {
  const values = fc.sample(arbitraryOf(schema), { seed: 4, numRuns: 40 })
  return values.find(saysSomething) ?? values[0]
}

interface Field {
  /** With dots. */
  name: string
  value: unknown
  /** The request that has it. */
  put(body: Json): Json
}

/** The fields of a route, and those of `options` one by one. */
const fieldsOf = (id: DialectId): Field[] => {
  const properties = dialects[id].schema['properties'] as Record<string, Json>
  const { values = {} } = BASES[id]
  return Object.entries(properties).flatMap(([name, schema]): Field[] => {
    if (name === 'model') return []
    const inner = name === 'options' && isObject(schema['properties']) ? Object.entries(schema['properties'] as Record<string, Json>) : []
    if (inner.length > 0)
      return inner.map(([option, each]) => {
        const optionName = `options.${option}`
        const value = optionName in values ? values[optionName] : pick(each)
        return { name: optionName, value, put: (body) => ({ ...body, options: { [option]: value } }) }
      })
    const value = name in values ? values[name] : pick(schema)
    return [{ name, value, put: (body) => ({ ...body, [name]: value }) }]
  })
}

/** Paths of what differs between two bodies. */
const differing = (a: unknown, b: unknown, path = ''): string[] => {
  if (isDeepStrictEqual(a, b)) return []
  if (!isObject(a) || !isObject(b)) return [path]
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((name) => differing(a[name], b[name], path ? `${path}.${name}` : name))
}

const at = (body: Json | undefined, name: string): unknown => name.split('.').reduce<unknown>((value, part) => (isObject(value) ? value[part] : undefined), body)

const code = (text: string) => `\`${text}\``

/** What became of a field, in the words of the page. */
const fate = ({ name, value }: Field, without: Seen, withIt: Seen): string => {
  if (withIt.error !== undefined) return `refused: ${withIt.error.replaceAll('|', '\\|')}`
  if (withIt.path === undefined) return 'answered without the engine'
  if (withIt.ignored.includes(name)) return 'ignored, and named'
  const moved = withIt.path === without.path ? '' : `, at ${code(withIt.path)}`
  const there = at(withIt.body, name)
  const changed = differing(without.body, withIt.body)
  if (changed.length === 0 && moved === '') return there === undefined ? 'not sent' : isDeepStrictEqual(there, value) ? 'as always sent' : "the node's own"
  if (isDeepStrictEqual(there, value)) return `carried${moved}`
  return `as ${[...new Set(changed.map((path) => path.split('.').slice(0, 2).join('.')))].map(code).join(', ')}${moved}`
}

export interface Row {
  name: string
  fates: string[]
}

/** What becomes of every field of a route on each way; nothing for a way that the route does not go. */
export const observe = async (id: DialectId, ways: readonly Way[]): Promise<{ path: string; ends: string[]; rows: Row[] }> => {
  const { path } = dialects[id]
  const { body, beside = {} } = BASES[id]
  const fields = fieldsOf(id)
  const columns = await Promise.all(
    ways.map(async (way) => {
      const base = { ...body, model: way.model }
      const plain = await ask(way, path, base)
      const end = plain.error === undefined ? code(plain.path ?? '') : `refused: ${plain.error}`
      const fates: string[] = []
      for (const field of fields) {
        const whole = { ...base, ...beside[field.name] }
        const without = beside[field.name] ? await ask(way, path, whole) : plain
        // Where the smallest request is refused, the others say nothing new.
        fates.push(plain.error === undefined ? fate(field, without, await ask(way, path, field.put(whole))) : '–')
      }
      return { end, fates }
    }),
  )
  return {
    path,
    ends: columns.map(({ end }) => end),
    rows: fields.map(({ name }, index): Row => ({ name, fates: columns.map(({ fates }) => fates[index] ?? '') })),
  }
}
