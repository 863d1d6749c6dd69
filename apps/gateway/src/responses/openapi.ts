import type { ErrorCode } from '@drover/core'
import { dialects } from '@drover/dialects'
import { ALWAYS, errorResponses, FORBIDDEN, ref, type Json, type OpenApi, type Operation } from '../openapi-parts.ts'

const { 'openai.responses': dialect } = dialects
const text: Json = { type: 'string' }
const json = (schema: Json): Json => ({ 'application/json': { schema } })
const answer = (description: string, content: Json): Json => ({ description, headers: ALWAYS, content })

const ID: Json = { name: 'id', in: 'path', required: true, description: "The response's id: `resp_…`.", schema: text }
const query = (name: string, description: string, schema: Json): Json => ({ name, in: 'query', required: false, description, schema })

interface OfResponse {
  id: string
  summary: string
  description?: string
  parameters?: Json[]
  ok: Json
  codes?: readonly ErrorCode[]
}

const ofResponse = ({ id, summary, description, parameters = [], ok, codes = [] }: OfResponse): Operation => ({
  tags: ['OpenAI'],
  summary,
  ...(description !== undefined && { description }),
  operationId: `openai.responses.${id}`,
  parameters: [ID, ...parameters],
  responses: {
    '200': ok,
    '404': answer('There is no such response that is stored, or none any more, or it is another’s.', json(ref('schemas', 'OpenAiError'))),
    ...errorResponses(dialect, ['unauthorized', 'broker_unavailable', ...codes]),
    ...FORBIDDEN,
  },
})

const response = ref('schemas', 'ResponseAnswer')
const items: Json = {
  type: 'object',
  required: ['object', 'data', 'first_id', 'last_id', 'has_more'],
  properties: {
    object: { const: 'list' },
    data: { type: 'array', items: { type: 'object' } },
    first_id: { type: ['string', 'null'] },
    last_id: { type: ['string', 'null'] },
    has_more: { type: 'boolean' },
  },
}

/** The routes of responses that are stored. */
export const responseRoutes = (): OpenApi['paths'] => ({
  '/v1/responses/{id}': {
    get: ofResponse({
      id: 'retrieve',
      summary: 'A stored response, as it is now',
      description:
        'Those of requests with `store` or `background`, on any gateway, while they run and for a while after their end. One that was created with `background` and `stream` is read as a stream of events with `stream=true`: ' +
        'each event has the number that it had at first.',
      parameters: [
        query('stream', 'The events of the response instead.', { type: 'boolean' }),
        query('starting_after', 'Number of the event behind which they begin; without it, the first.', { type: 'integer', minimum: 0 }),
      ],
      ok: answer('The response, or its events.', { ...json(response), [dialect.streamType]: { schema: ref('schemas', 'ResponseEvent') } }),
      codes: ['bad_request', 'queue_full'],
    }),
    delete: ofResponse({
      id: 'delete',
      summary: 'Forget a stored response; one in the background that still runs is cancelled',
      ok: answer('It is gone.', json({ type: 'object', required: ['id', 'object', 'deleted'], properties: { id: text, object: { const: 'response' }, deleted: { const: true } } })),
    }),
  },
  '/v1/responses/{id}/cancel': {
    post: ofResponse({ id: 'cancel', summary: 'Cancel a response in the background; one that has ended stays as it is', ok: answer('The response.', json(response)), codes: ['bad_request'] }),
  },
  '/v1/responses/{id}/input_items': {
    get: ofResponse({
      id: 'input_items',
      summary: "What a stored response's own request gave as its input",
      parameters: [
        query('limit', 'Most items of the page.', { type: 'integer', minimum: 1, maximum: 100, default: 20 }),
        query('order', 'From the first or from the last.', { enum: ['asc', 'desc'], default: 'desc' }),
        query('after', 'Id of the item behind which the page begins.', text),
      ],
      ok: answer('A page.', json(items)),
      codes: ['bad_request'],
    }),
  },
})
