import { BrokerError, type ErrorCode, type JobId } from '@drover/core'
import { responseIdOf } from '@drover/dialects'

interface Said {
  status: number
  param?: string
  code?: string
}

/** An error of the routes of kept responses, as OpenAI's own servers write it. */
const refused = (message: string, { status, param, code }: Said, kind: ErrorCode = 'bad_request'): BrokerError =>
  new BrokerError(kind, message, {
    status,
    body: JSON.stringify({ error: { message, type: 'invalid_request_error', param: param ?? null, code: code ?? null } }),
  })

/** Also of one that is another's. */
export const responseNotFound = (id: string): BrokerError => refused(`Response with id '${id.slice(0, 100)}' not found.`, { status: 404 })

export const itemNotFound = (id: string): BrokerError =>
  refused(`Item with id '${id.slice(0, 100)}' not found. Only items of responses that are stored can be referred to (store: true); else send the item itself.`, { status: 404, param: 'input' })

export const tooManyReferences = (most: number): BrokerError => refused(`The items of more than ${most} responses are referred to, too much for one request: use previous_response_id.`, { status: 400, param: 'input' })

export const badQuery = (param: string, message: string): BrokerError => refused(`${param}: ${message}`, { status: 400, param })

export const notInBackground = (): BrokerError => refused('Cannot cancel a synchronous response.', { status: 400 })

export const noEvents = (why: string): BrokerError => refused(`This response cannot be streamed: ${why}.`, { status: 400, param: 'stream' })

const previous = (message: string, status: 400 | 404 = 400, code?: string): BrokerError =>
  refused(message, { status, param: 'previous_response_id', ...(code !== undefined && { code }) })

/** `missing`: the response itself, or one before it in its conversation. */
export const previousNotFound = (missing: string): BrokerError =>
  previous(`Previous response with id '${missing.slice(0, 100)}' not found. Only responses that are stored can be gone on from (store: true).`, 404, 'previous_response_not_found')

export const previousNotOver = (id: JobId): BrokerError => previous(`Previous response with id '${responseIdOf(id)}' has not ended yet.`)

export const previousBroke = (id: JobId, status: string): BrokerError => previous(`Previous response with id '${responseIdOf(id)}' is ${status}: there is no answer to go on from.`)

export const conversationTooLong = (most: number, what: 'responses' | 'bytes'): BrokerError =>
  previous(`The conversation before this request has more than ${most} ${what}: send what matters of it as input.`)

export const responseTooLarge = (most: number): BrokerError =>
  refused(`The request is larger than ${most} bytes, too large to be stored: send store: false.`, { status: 413, param: 'store' })

export const storeFull = (bound: string): BrokerError =>
  refused(`As ${bound} are stored for this key as may be: delete some, wait until some go, or send store: false.`, { status: 429, param: 'store', code: 'stored_responses_full' }, 'quota_exceeded')
