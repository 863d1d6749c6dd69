import { EVENT_TYPES } from '@drover/broker'
import { dialects } from '@drover/dialects'
import { ALWAYS, CODES, errorResponses, FORBIDDEN, ref, type Json, type OpenApi, type Operation } from '../openapi-parts.ts'

const text: Json = { type: 'string' }
const time: Json = { type: 'string', format: 'date-time' }
const count: Json = { type: 'integer', minimum: 0 }
const orNull = (schema: Json): Json => ({ anyOf: [schema, { type: 'null' }] })
const object = (properties: Record<string, Json>, required = Object.keys(properties)): Json => ({ type: 'object', required, properties })
const list = (items: Json): Json => ({ type: 'array', items })
const json = (schema: Json) => ({ 'application/json': { schema } })
const answer = (description: string, schema: Json): Json => ({ description, headers: ALWAYS, content: json(schema) })
const error = (description: string): Json => answer(description, ref('schemas', 'OllamaError'))
const refusals = (...codes: (typeof CODES)[number][]): Record<string, Json> => ({ ...errorResponses(dialects['ollama.chat'], ['unauthorized', 'broker_unavailable', ...codes]), ...FORBIDDEN })

const types: Json = { type: 'string', enum: [...EVENT_TYPES] }
const webhook = {
  id: text,
  owner: text,
  url: text,
  events: list(types),
  created_at: time,
  disabled: { ...orNull(text), description: 'Why it is told nothing more; `gone`: it has answered 410.' },
  lost: { ...count, description: 'Events that it was not told of because too many waited for it.' },
}
const delivery = object({
  id: { ...text, description: 'As in `webhook-id`: the same in every try.' },
  type: text,
  state: { type: 'string', enum: ['pending', 'delivered', 'failed'] },
  created_at: time,
  attempts: count,
  last_attempt_at: orNull(time),
  last_status: orNull({ type: 'integer' }),
  last_error: orNull(text),
  next_attempt_at: { ...orNull(time), description: 'Absent while it is being tried.' },
})

const parameter = (name: string, description: string): Json => ({ name, in: 'path', required: true, description, schema: text })
const ID = parameter('id', 'Its id.')
const UNKNOWN = error('No such webhook is known, or it is somebody else’s.')

const operation = (id: string, summary: string, responses: Record<string, Json>, more: Partial<Operation> = {}): Operation => ({ tags: ['Drover'], summary, operationId: `drover.webhooks.${id}`, ...more, responses })

/** The routes of `routes.ts`. */
export const webhookPaths: OpenApi['paths'] = {
  '/api/webhooks': {
    get: operation('list', 'The webhooks of the caller', { '200': answer('OK', object({ webhooks: list(object(webhook)) })), ...refusals() }),
    post: operation(
      'create',
      'Have an endpoint told of what ends',
      {
        '201': answer('It is told from now on. The secret is shown this once.', object({ ...webhook, secret: text }, Object.keys(webhook))),
        '409': error('There are as many webhooks as may be.'),
        ...refusals('bad_request', 'body_too_large', 'queue_full'),
      },
      {
        requestBody: {
          required: true,
          content: json({
            ...object({ url: { ...text, description: 'https or http; its address must be public, unless the gateway is set otherwise.' }, events: { ...list(types), description: 'By default all.' }, secret: { ...text, description: '`whsec_` and 24 to 64 bytes in base64; by default one is made.' } }, ['url']),
            additionalProperties: false,
          }),
        },
      },
    ),
  },
  '/api/webhooks/{id}': {
    get: operation('get', 'One webhook', { '200': answer('OK', object(webhook)), '404': UNKNOWN, ...refusals() }, { parameters: [ID] }),
    delete: operation('delete', 'Tell an endpoint nothing more, and forget what it was told', { '200': answer('It is gone.', object({ id: text, deleted: { const: true } })), '404': UNKNOWN, ...refusals() }, { parameters: [ID] }),
  },
  '/api/webhooks/{id}/test': {
    post: operation(
      'test',
      'Send an event that tells of nothing, once',
      { '202': answer('It is under way; the log of deliveries says how it went.', object({ delivery: text })), '404': UNKNOWN, '409': error('The webhook is disabled.'), ...refusals() },
      { parameters: [ID] },
    ),
  },
  '/api/webhooks/{id}/deliveries': {
    get: operation(
      'deliveries',
      'What an endpoint was told, and is to be told',
      { '200': answer('The last events first.', object({ deliveries: list(delivery) })), '404': UNKNOWN, ...refusals('bad_request') },
      { parameters: [ID, { name: 'limit', in: 'query', required: false, description: 'Most deliveries.', schema: { type: 'integer', minimum: 1, maximum: 1_000, default: 100 } }] },
    ),
  },
  '/api/webhooks/{id}/deliveries/{delivery}/retry': {
    post: operation(
      'retry',
      'Begin a delivery anew, whatever became of it',
      { '202': answer('It is under way.', delivery), '404': error('No such webhook or delivery is known.'), '409': error('The webhook is disabled.'), ...refusals() },
      { parameters: [ID, parameter('delivery', 'Its id.')] },
    ),
  },
}
