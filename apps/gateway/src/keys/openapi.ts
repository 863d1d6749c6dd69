import { KeyChange, KeyWish } from '@drover/core'
import { dialects } from '@drover/dialects'
import { z } from 'zod'
import { ALWAYS, errorResponses, ref, type CODES, type Json, type OpenApi, type Operation } from '../openapi-parts.ts'
import { Rotation } from './routes.ts'

const text: Json = { type: 'string' }
const json = (schema: Json) => ({ 'application/json': { schema } })
const ok = (description: string, schema: Json): Json => ({ description, headers: ALWAYS, content: json(schema) })
const refused = (description: string): Json => ({ description, headers: ALWAYS, content: json(ref('schemas', 'OllamaError')) })
const refusals = (...codes: (typeof CODES)[number][]): Record<string, Json> => errorResponses(dialects['ollama.chat'], ['unauthorized', 'forbidden', 'broker_unavailable', ...codes])

const taken = (schema: z.ZodType): Json => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as Json
  return rest
}
const wish = taken(KeyWish)

const shown: Json = {
  type: 'object',
  required: ['id', 'name', 'scopes', 'priority_ceiling', 'batch_share', 'created_at'],
  properties: {
    id: { type: 'string', description: 'Owner of all that is made with the key.' },
    ...(wish['properties'] as Json),
    created_at: text,
    changed_at: text,
    rotated_at: text,
    previous_until: { type: 'string', description: 'Until when the secret before the last rotation opens, too.' },
  },
}
const given: Json = {
  ...shown,
  required: [...(shown['required'] as string[]), 'key'],
  properties: { ...(shown['properties'] as Json), key: { type: 'string', description: 'What its holder sends. It is shown this once.' } },
}

const operation = (id: string, summary: string, rest: Pick<Operation, 'description' | 'parameters' | 'requestBody' | 'responses'>): Operation => ({ tags: ['Drover'], summary, operationId: `drover.keys.${id}`, ...rest })
const KEY: Json = { name: 'id', in: 'path', required: true, description: 'Its id.', schema: text }
const NOT_THERE = { '404': refused('There is no such key.') }
const UNMANAGED = 'Nobody could manage keys any more: the error says what to do first.'

/** The routes of `routes.ts`; all want the scope `admin`. */
export const keyEntries = (): OpenApi['paths'] => ({
  '/api/keys': {
    get: operation('list', 'The keys: who may come in, and what for', {
      responses: { '200': ok('OK', { type: 'object', required: ['keys'], properties: { keys: { type: 'array', items: shown } } }), ...refusals() },
    }),
    post: operation('create', 'Make a key', {
      requestBody: { required: true, content: json(wish) },
      responses: { '201': ok('The key, and this once what its holder sends.', given), '409': refused(UNMANAGED), ...refusals('bad_request', 'body_too_large') },
    }),
  },
  '/api/keys/{id}': {
    patch: operation('set', 'Change what a key may, at once; its secret stays', {
      description: 'What is absent stays as it is; `null` is as if it had never been said: a limit of `null` is none.',
      parameters: [KEY],
      requestBody: { required: true, content: json(taken(KeyChange)) },
      responses: { '200': ok('The key as it is now.', shown), '409': refused(UNMANAGED), ...NOT_THERE, ...refusals('bad_request', 'body_too_large') },
    }),
    delete: operation('revoke', 'Revoke a key, at once', {
      parameters: [KEY],
      responses: { '200': ok('OK', { type: 'object', required: ['id', 'revoked'], properties: { id: text, revoked: { const: true } } }), '409': refused(UNMANAGED), ...NOT_THERE, ...refusals() },
    }),
  },
  '/api/keys/{id}/rotate': {
    post: operation('rotate', 'Give a key another secret; what it owns stays its own', {
      parameters: [KEY],
      requestBody: { required: false, content: json(taken(Rotation)) },
      responses: { '200': ok('The key, and this once what its holder sends from now on.', given), ...NOT_THERE, ...refusals('bad_request', 'body_too_large') },
    }),
  },
})
