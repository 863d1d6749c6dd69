import { z } from 'zod'
import { answer, json, list, object, refusals, text } from '../openapi-builders.ts'
import type { Json, OpenApi } from '../openapi-parts.ts'
import { PlanBody } from './plan.ts'

const integer: Json = { type: 'integer', minimum: 0 }
const bytes: Json = { type: 'number', minimum: 0 }
const flag: Json = { type: 'boolean' }
const maybe = (type: string): Json => ({ type: [type, 'null'] })

const member: Json = {
  ...object({ node: text, device: text, from: integer, to: integer, layers: integer, output: flag, weights: bytes, kv: bytes, compute: bytes, total: bytes }),
  description: 'A part of the model: layers `from` to, but without, `to`, and what they take of the device, bytes.',
}

const cluster: Json = object({
  model: text, coordinator: text, state: { type: 'string', enum: ['forming', 'ready', 'ending'] }, members: list(member), slots: integer,
  context_length: { ...integer, description: 'Tokens per slot.' },
  tokens_per_second: { ...maybe('number'), description: 'Of the last answers, all slots together.' },
  since: text,
})

const device: Json = {
  ...object({ node: text, device: text, kind: { type: 'string', enum: ['cpu', 'gpu'] }, total: bytes, free: bytes, takes: bytes }),
  description: 'What a node lends, and what the plan takes of it, bytes.',
}
const asked = { model: text, coordinator: text, context_length: integer, slots: integer, kv_type: text }

const verdict: Json = {
  oneOf: [
    { ...object({ ...asked, fits: { const: true }, members: list(member), besides: { ...bytes, description: 'What the coordinator’s own process takes besides its layers.' }, devices: list(device) }), description: 'It fits so.' },
    {
      ...object({ ...asked, fits: { const: false }, reason: text, never: { ...flag, description: 'Not even if nothing else ran.' }, needs: bytes, free: bytes, lenders: integer, devices: list(device) }),
      description: 'It does not fit.',
    },
  ],
}

const { $schema: _, ...planBody } = z.toJSONSchema(PlanBody, { io: 'input' }) as Json

/** Routes of models over several nodes. */
export const clusterEntries = (): OpenApi['paths'] => ({
  '/api/clusters': {
    get: {
      tags: ['Drover'],
      summary: 'The models that run over several nodes',
      operationId: 'drover.clusters',
      responses: { '200': answer('OK', json(object({ clusters: list(cluster) }))), ...refusals('ollama.chat') },
    },
  },
  '/api/plan': {
    post: {
      tags: ['Drover'],
      summary: 'How a model would be spread over several nodes now; nothing is done',
      operationId: 'drover.plan',
      requestBody: { required: true, content: json(planBody) },
      responses: { '200': answer('The best that a node could do that has the model’s file.', json(verdict)), ...refusals('ollama.chat', 'bad_request', 'body_too_large', 'model_not_found', 'cannot_run', 'broker_unavailable') },
    },
  },
})
