import { canonicalName } from '@drover/core'
import { defineConfig, EXIT, ExitError, loadConfig } from '@drover/service'
import { type LaneStatus, readStatus, readTags, type Tag } from '../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from './client-settings.ts'
import { laneName } from './lane-name.ts'
import { outputWidth, print, printJson } from './output.ts'
import { digestsDiffer, type Place, placesOf } from './places.ts'
import { type Column, tableLines } from './table.ts'
import { expiry, short, size, span } from './units.ts'
import { splitWords } from './words.ts'

const showConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })
const USAGE = 'drover show MODEL [--json]'

const columns: Column<Place>[] = [
  { title: 'NODE', cell: ({ node }) => node },
  { title: 'ENGINE', cell: ({ engine, kind }) => `${kind} at ${engine}` },
  { title: 'ID', cell: ({ held }) => short(held.digest) },
  { title: 'SIZE', cell: ({ held }) => (held.size === undefined ? '' : size(held.size)), right: true },
  { title: 'CONTEXT', cell: ({ held }) => `${held.memory?.context_length ?? held.context_length ?? ''}`, right: true },
  { title: 'BUSY', cell: ({ held }) => `${held.busy}/${held.slots}`, right: true },
  { title: 'IN MEMORY', cell: ({ held }) => (held.loaded ? 'yes' : 'no') },
  { title: 'CONTINUES', cell: ({ held }) => held.continues ?? '' },
]

/** The model, and what must be said when there is none of that name. */
export const notHere = (text: string, tags: readonly Tag[]): ExitError => {
  const names = tags.map(({ name }) => name)
  const there = names.length === 0 ? 'no node holds any model yet' : `there are ${names.slice(0, 20).join(', ')}${names.length > 20 ? ', … (drover list)' : ''}`
  return new ExitError(`${text}: ${there}`, EXIT.failed)
}

const asJson = (tag: Tag, places: readonly Place[], lanes: readonly LaneStatus[], now: number) => ({
  name: tag.name,
  digest: tag.digest,
  digests_differ: digestsDiffer(places),
  size: tag.size,
  modified_at: tag.modified_at,
  format: tag.details.format || null,
  family: tag.details.family || null,
  parameter_size: tag.details.parameter_size || null,
  quantization: tag.details.quantization_level || null,
  context_length: tag.details.context_length ?? null,
  capabilities: tag.capabilities ?? null,
  lanes: lanes.map(({ class: name, layout, waiting, head_age_ms, running, short_of, being_brought }) => ({ class: name, layout: layout ?? null, waiting, head_age_ms, running, short_of: short_of ?? null, being_brought: being_brought ?? null })),
  nodes: places.map(({ node, engine, kind, version, held }) => ({
    node,
    engine,
    kind,
    version: version ?? null,
    digest: held.digest ?? null,
    size: held.size ?? null,
    quantization: held.quantization ?? null,
    context_length: held.memory?.context_length ?? held.context_length ?? null,
    loaded: held.loaded,
    slots: held.slots,
    busy: held.busy,
    expires_at: expiry(held.memory?.expires_at, now) ?? null,
    continues: held.continues ?? null,
  })),
})

/** `drover show MODEL`: what it is, where it is, and who waits for it. */
export const show = async (argv: readonly string[]): Promise<void> => {
  const { words, flags } = splitWords(showConfig.settings, argv)
  const { values } = loadConfig(showConfig, { argv: flags, usage: USAGE })
  const [asked = '', ...more] = words
  if (asked === '' || more.length > 0) throw new ExitError(`expected one model: ${USAGE}`)
  const gateway = gatewayOf(values)
  const [tags, { status }] = await Promise.all([readTags(gateway), readStatus(gateway)])
  const name = canonicalName(asked)
  const tag = tags.find((each) => each.name === name)
  if (tag === undefined) throw notHere(`model '${asked}' not found`, tags)
  const places = placesOf(status).get(tag.name) ?? []
  const lanes = (status.lanes ?? []).filter(({ model }) => model === tag.name)
  if (values.json) return printJson(asJson(tag, places, lanes, Date.now()))

  const { details, capabilities } = tag
  const facts: [string, string | number | undefined][] = [
    ['model', tag.name],
    ['digest', tag.digest],
    ['family', details.family],
    ['parameters', details.parameter_size],
    ['quantization', details.quantization_level],
    ['context length', details.context_length],
    ['size', size(tag.size)],
    ['capabilities', capabilities?.join(', ')],
    ['modified', tag.modified_at],
  ]
  for (const [label, value] of facts) if (value) print(`${label.padEnd(16)}${value}`)
  for (const lane of lanes) {
    const { waiting, running, head_age_ms: age, short_of: short, being_brought: brought } = lane
    print(`${'lane'.padEnd(16)}${laneName(lane)}: ${waiting} waiting${waiting > 0 ? ` (the first for ${span(age)})` : ''}, ${running} running${short === undefined ? '' : `; ${short}`}${brought === undefined ? '' : `; being brought ${brought}`}`)
  }
  print('')
  for (const line of tableLines(columns, places, outputWidth())) print(line)
  if (digestsDiffer(places)) print('\nThe nodes hold different weights under this name: pull it again where it is old, or give one of them another name.')
}
