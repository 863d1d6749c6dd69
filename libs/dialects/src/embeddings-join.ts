import type { JsonObject } from './delta.ts'

const NS_PER_MS = 1e6

/**
 * The text of a body's one list, and the body without it. Bodies are those of `embeddings-exchange.ts`: nothing before the list has its
 * name in it, nothing behind it a bracket. Vectors are long: so they are moved as text, not read and written again.
 */
const takeList = (body: string, name: string): { items: string; rest: JsonObject } => {
  const from = body.indexOf(`"${name}":[`) + name.length + 4
  const to = body.lastIndexOf(']')
  return { items: body.slice(from, to), rest: JSON.parse(body.slice(0, from) + body.slice(to)) as JsonObject }
}

const number = (value: unknown): number => (typeof value === 'number' ? value : 0)

/** Answers of `/api/embed` to parts of a request: the vectors in order, tokens added up, the longest time of a load. */
export const joinEmbed = (parts: readonly string[], totalMs: number): string => {
  const read = parts.map((part) => takeList(part, 'embeddings'))
  const load = Math.max(...read.map(({ rest }) => number(rest['load_duration'])))
  const tokens = read.reduce((sum, { rest }) => sum + number(rest['prompt_eval_count']), 0)
  const measured = {
    total_duration: Math.round(totalMs * NS_PER_MS),
    ...(load > 0 ? { load_duration: load } : {}),
    ...(tokens > 0 ? { prompt_eval_count: tokens } : {}),
  }
  const list = read.map(({ items }) => items).join(',')
  return `{"model":${JSON.stringify(read[0]?.rest['model'])},"embeddings":[${list}],${JSON.stringify(measured).slice(1)}`
}

/** Answers of `/v1/embeddings` to parts of a request: the vectors in order and numbered anew, usage added up. */
export const joinOpenAiEmbeddings = (parts: readonly string[]): string => {
  const read = parts.map((part) => takeList(part, 'data'))
  let index = 0
  const list = read.map(({ items }) => items.replaceAll(/"index":\d+\}/g, () => `"index":${index++}}`)).join(',')
  const usage: Record<string, number> = {}
  for (const { rest } of read)
    for (const [name, count] of Object.entries(rest['usage'] as JsonObject)) usage[name] = (usage[name] ?? 0) + number(count)
  return `{"object":"list","data":[${list}],"model":${JSON.stringify(read[0]?.rest['model'])},"usage":${JSON.stringify(usage)}}`
}
