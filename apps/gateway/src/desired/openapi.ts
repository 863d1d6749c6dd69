import { DesiredState } from '@drover/core'
import { z } from 'zod'
import { answer, json, list, object, refusals, text } from '../openapi-builders.ts'
import type { Json, OpenApi, Operation } from '../openapi-parts.ts'

const { $schema: _, ...state } = z.toJSONSchema(DesiredState, { io: 'input' }) as Json
const time: Json = { type: 'string', format: 'date-time' }
const orNull = (schema: Json): Json => ({ anyOf: [schema, { type: 'null' }] })
const count: Json = { type: 'integer', minimum: 0 }
const change = { action: { type: 'string', enum: ['pull', 'delete', 'load', 'unload'] }, model: text, node: text }
const shown: Json = object({
  version: { ...count, description: 'Counts the changes; 0: nothing was ever described.' },
  applied_at: orNull(time),
  desired: state,
  fulfilled: { type: 'boolean' },
  drift: { ...list(object({ model: text, text })), description: 'What is not so yet, and why.' },
  planned: { ...list(object(change)), description: 'What is to be done for it; what comes behind that may not be there yet.' },
  actions: list({ ...object({ ...change, since: time }), description: 'What is being done; of a pull also `completed` and `total`, in bytes.' }),
  failures: list(object({ ...change, error: text, tries: count, next_try_at: time })),
  gateway: { ...orNull(text), description: 'Which gateway has looked last.' },
  looked_at: orNull(time),
})
const told = answer('What is described, and how far it is so.', json(shown))

const operation = (id: string, summary: string, more: Pick<Operation, 'description' | 'parameters' | 'requestBody' | 'responses'>): Operation => ({ tags: ['Drover'], summary, operationId: `drover.models.desired.${id}`, ...more })

/** The routes of `routes.ts`. */
export const desiredEntries = (): OpenApi['paths'] => ({
  '/api/models/desired': {
    get: operation('get', 'Which models are to be where, and what is not so yet', { responses: { '200': told, ...refusals('ollama.chat', 'broker_unavailable') } }),
    put: operation('put', 'Say which models are to be where', {
      description: 'The whole of it: what is not in it is no longer described. What `docs/models.md` says of `prune` becomes of its copies.',
      parameters: [{ name: 'dry_run', in: 'query', required: false, description: '`true`: tells what would be done, and changes nothing.', schema: { type: 'string', enum: ['true', 'false'] } }],
      requestBody: { required: true, content: json(state) },
      responses: { '200': told, ...refusals('ollama.chat', 'bad_request', 'body_too_large', 'queue_full', 'broker_unavailable') },
    }),
    delete: operation('delete', 'Describe nothing any more; copies stay', { responses: { '200': told, ...refusals('ollama.chat', 'body_too_large', 'bad_request', 'queue_full', 'broker_unavailable') } }),
  },
})
