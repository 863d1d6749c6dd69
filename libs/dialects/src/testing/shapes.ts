import { isObject } from '../delta.ts'

/** A part of an answer: a line, an event, or one body. */
export interface Said {
  /** The type that stands before an event in Anthropic's API. */
  type: string
  data: unknown
}

/** What an answer is made of: lines, events, or one body. */
export const eventsOf = (text: string): Said[] => {
  const parts = /^(data|event): /.test(text) ? text.trimEnd().split('\n\n') : text.trimEnd().split('\n')
  return parts.map((part) => {
    const [, type = '', data = part] = /^(?:event: (.*)\n)?data: (.*)$/.exec(part) ?? []
    return { type, data: data === '[DONE]' ? data : (JSON.parse(data) as unknown) }
  })
}

/** Names and types, without texts and numbers; a list is what its members are. */
const shapeOf = (value: unknown): unknown => {
  if (Array.isArray(value)) return [...new Set(value.map((one) => JSON.stringify(shapeOf(one))))]
  if (!isObject(value)) return value === null ? 'null' : typeof value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, shapeOf(field)] as const).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** The shapes of events in their order; any number of the same kind in a row is one. */
export const shapesOf = (events: readonly Said[]): string[] =>
  events.map(({ type, data }) => `${type} ${JSON.stringify(shapeOf(data))}`).filter((shape, at, all) => shape !== all[at - 1])
