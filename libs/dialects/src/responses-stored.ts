import { JobId, type BrokerError } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'
import type { ParsedRequest } from './dialect.ts'
import { badRequest } from './fields.ts'
import { responseObject, type ResponseStatus } from './responses-object.ts'

/** What a request asks of a server that keeps responses. */
export interface StoredWish {
  /** Absent: left to the server. */
  store?: boolean
  background: boolean
  /** The response whose conversation goes on. */
  previous?: string
  /** Items of stored responses are named instead of given. */
  references?: true
}

/** One response of a conversation: what it was given beside those before it, and what it said. */
export interface Turn {
  input: readonly JsonObject[]
  output: readonly JsonObject[]
}

/** Events of a background response that are told before its job begins: that it was created, that it waits. The job's own go on behind them. */
export const TOLD_BEFORE = 2

/** Most items of a conversation. */
const ITEMS = 10_000

/** A response is named by its job, so that any gateway finds it. */
export const responseIdOf = (job: JobId): string => `resp_${job}`

/** The job of a response; `undefined` for a text that is no id of one. */
export const jobOfResponse = (id: string): JobId | undefined => (id.startsWith('resp_') ? JobId.safeParse(id.slice(5)).data : undefined)

/** The job of the response that an item stands in, among what it said or what it was given; `undefined` for what is no id of ours. */
export const jobOfItem = (id: string): JobId | undefined => JobId.safeParse(/^[a-z]+_(.+)_(?:in)?\d+$/.exec(id)?.[1]).data

const isReference = (item: unknown): item is JsonObject & { id: string } => isObject(item) && item['type'] === 'item_reference'

export const hasReferences = (input: unknown): boolean => Array.isArray(input) && input.some(isReference)

/** Ids of the items that a request names instead of giving them. */
export const referencesIn = ({ body: { input } }: ParsedRequest): string[] => (Array.isArray(input) ? input.filter(isReference).map(({ id }) => id) : [])

/** A request with those items in their places. */
export const withItems = (request: ParsedRequest, itemOf: (id: string) => JsonObject): ParsedRequest => {
  const { input } = request.body
  if (!Array.isArray(input)) return request
  return { ...request, body: { ...request.body, input: input.map((item: unknown) => (isReference(item) ? saidBefore(itemOf(item.id)) : item)) } }
}

const PREFIXES: Readonly<Record<string, string>> = { message: 'msg', function_call: 'fc', function_call_output: 'fco', reasoning: 'rs' }

const contentOf = ({ role, content }: JsonObject): unknown =>
  typeof content === 'string' ? [{ type: role === 'assistant' ? 'output_text' : 'input_text', text: content }] : content

/** What a request gave, as the API lists it: items with ids, contents in parts. */
export const inputItems = (input: unknown, job: JobId): JsonObject[] => {
  const given = Array.isArray(input) ? input.filter(isObject) : [{ type: 'message', role: 'user', content: input }]
  return given.map((item, index) => ({
    ...item,
    id: item['id'] ?? `${PREFIXES[String(item['type'])] ?? 'item'}_${job}_in${index}`,
    status: item['status'] ?? 'completed',
    ...(item['type'] === 'message' && { content: contentOf(item) }),
  }))
}

const partOf = ({ type, text, refusal }: JsonObject): JsonObject => (type === 'refusal' ? { type, refusal } : { type, text })

/** What a response said, as the next request is given it: log probabilities and the like say nothing to a model. */
const saidBefore = (item: JsonObject): JsonObject => {
  const { content } = item
  if (item['type'] !== 'message' || item['role'] !== 'assistant' || !Array.isArray(content)) return item
  return { type: 'message', id: item['id'], role: 'assistant', content: content.filter(isObject).map(partOf) }
}

/**
 * A request with the conversation before it in front of its input. Instructions of earlier requests are not among it.
 * @throws BrokerError `bad_request` for more items than a request may have
 */
export const withConversation = (request: ParsedRequest, turns: readonly Turn[]): ParsedRequest => {
  if (turns.length === 0) return request
  const { input } = request.body
  const before = turns.flatMap(({ input: given, output }) => [...given, ...output.map(saidBefore)])
  const items = [...before, ...(Array.isArray(input) ? (input as unknown[]) : [{ type: 'message', role: 'user', content: input }])]
  if (items.length > ITEMS) throw badRequest(`the conversation has ${items.length} items, at most ${ITEMS} are allowed`)
  return { ...request, body: { ...request.body, input: items } }
}

/** What the answer to a request that goes on, or that is kept, says of that. */
export interface Keeping {
  store: boolean
  background: boolean
  previous?: string | undefined
  /** Epoch ms. */
  createdAt: number
}

/** A request as its job carries it. */
export const kept = (request: ParsedRequest, { store, background, previous, createdAt }: Keeping): ParsedRequest => ({
  ...request,
  body: {
    ...request.body,
    ...(previous !== undefined && { previous_response_id: previous }),
    ...(store && { store, background, created_at: Math.floor(createdAt / 1_000) }),
  },
})

/** A kept response before its job has begun. */
export const queuedResponse = ({ body, model }: ParsedRequest, job: JobId): JsonObject => responseObject({ body, id: job, asked: model, createdAt: 0 }, { status: 'queued' })

const eventOf = (type: string, number: number, response: JsonObject): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: number, response })}\n\n`

/** The events before those of the job. */
export const eventsBefore = (queued: JsonObject): string[] => [eventOf('response.created', 0, queued), eventOf('response.queued', 1, queued)]

/** The number of an event as we write it. */
export const numberOf = (event: string): number | undefined => {
  const [, number] = /^event: [^\n]*\ndata: \{"type":"[^"]*","sequence_number":(\d+)/.exec(event) ?? []
  return number === undefined ? undefined : Number(number)
}

/** The end of a stream whose response has none. One that was cancelled ends so, too: OpenAI has no other event for it (openai 6, `ResponseStreamEvent`). */
export const failedEvent = (response: JsonObject, number: number): string => eventOf('response.failed', number, response)

const ENDS = ['event: response.completed\n', 'event: response.incomplete\n']

/** The response that a job's answer is, as JSON text; `undefined`: it is not in there. */
export const responseIn = (answer: string, streamed: boolean): string | undefined => {
  if (!streamed) return answer
  // A line's end within data is escaped, so these characters are an event's first line.
  const event = answer.slice(Math.max(...ENDS.map((end) => answer.lastIndexOf(end))))
  const [, data] = event.split('\n', 2)
  const told: unknown = data?.startsWith('data: ') ? JSON.parse(data.slice(6)) : undefined
  return isObject(told) && isObject(told['response']) ? JSON.stringify(told['response']) : undefined
}

const openContent = ({ type }: JsonObject, text: string): JsonObject => {
  if (type === 'function_call') return { arguments: text }
  return { content: [type === 'message' ? { type: 'output_text', text, annotations: [], logprobs: [] } : { type: 'reasoning_text', text }] }
}

/** Items of an answer that broke off, by its events: those that were told to their ends, and what there is of the others. */
const itemsIn = (events: string): JsonObject[] => {
  const items = new Map<unknown, { item: JsonObject; text: string | undefined }>()
  for (const event of events.split('\n\n').slice(0, -1)) {
    const told: unknown = JSON.parse(event.slice(event.indexOf('\ndata: ') + 7))
    if (!isObject(told)) continue
    const { type, item, output_index: place, delta } = told
    if (type === 'response.output_item.added' && isObject(item)) items.set(place, { item, text: '' })
    else if (type === 'response.output_item.done' && isObject(item)) items.set(place, { item, text: undefined })
    else if (typeof delta === 'string') {
      const open = items.get(place)
      if (open?.text !== undefined) open.text += delta
    }
  }
  return [...items.values()].map(({ item, text }) => (text === undefined ? item : { ...item, status: 'incomplete', ...openContent(item, text) }))
}

/** How a response ended that did not come to its end. */
export interface BrokenOff {
  status: Extract<ResponseStatus, 'failed' | 'cancelled'>
  /** Absent for one that was cancelled. */
  error?: BrokerError
}

/** A kept response that broke off. `answer`: what a client that reads a stream was sent of it. */
export const brokenOff = (queued: JsonObject, { status, error }: BrokenOff, answer: string): JsonObject => ({
  ...queued,
  status,
  error: error ? { code: error.status === 400 ? 'invalid_prompt' : 'server_error', message: error.message } : null,
  output: itemsIn(answer),
})
