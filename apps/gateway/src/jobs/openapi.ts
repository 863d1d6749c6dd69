import { answer, json, list, nativeError, object, parameter, refusals, text } from '../openapi-builders.ts'
import { ALWAYS, headers, ref, WISHES, type Json, type OpenApi, type Operation } from '../openapi-parts.ts'

const ID = parameter('id', 'From `x-drover-job`, or `location`.')
const query = (name: string, description: string, schema: Json = text): Json => ({ name, in: 'query', required: false, description, schema })
const integer: Json = { type: 'integer', minimum: 0 }
const maybe = (type: string): Json => ({ type: [type, 'null'] })
const STATES = ['queued', 'running', 'completed', 'failed', 'cancelled', 'expired']

const job: Json = {
  ...object({
    id: text, state: { type: 'string', enum: STATES }, owner: text, dialect: text, model: text, class: text, stream: { type: 'boolean' }, background: { type: 'boolean' }, priority: maybe('integer'),
    position: { ...maybe('integer'), description: 'Jobs that come before it, while it waits.' },
    expected_start_at: { ...maybe('string'), description: 'When it is likely to begin, where this gateway can tell.' },
    short_of: { ...maybe('string'), description: 'The memory that is missing, while it waits for that.' },
    being_brought: { ...maybe('string'), description: 'Where its model is being brought, and how far that is, while it waits for that.' },
    node: maybe('string'), attempts: integer,
    created_at: text, started_at: maybe('string'), first_token_at: maybe('string'), ended_at: maybe('string'), deadline_at: text,
    expires_at: { ...maybe('string'), description: 'When what is kept of it goes, once it has ended.' },
    usage: { type: ['object', 'null'], properties: { prompt_tokens: integer, completion_tokens: integer } },
    error: { type: ['object', 'null'], properties: { code: text, message: text, status: integer } },
  }),
  description: 'A job. Times are those of Redis’ clock.',
}

const accepted = object({ id: text, state: { type: 'string', enum: STATES }, url: text, result_url: text, stream_url: text })

/** The answer to a request that was handed in. */
export const ACCEPTED: Json = {
  description: 'The job is in Redis: with `Prefer: respond-async`.',
  headers: { ...ALWAYS, ...headers('location', 'x-drover-job', 'preference-applied', 'idempotent-replayed') },
  content: json(accepted),
}

const tags = ['Drover']
const unknown = { '404': nativeError('No such job is known; it may have ended too long ago, or be another’s.') }

const handIn: Operation = {
  tags,
  summary: 'Hand in a request and come back for its answer',
  description: 'As the same request with `Prefer: respond-async` on its own route; its errors have the form of this one.',
  operationId: 'drover.jobs.create',
  parameters: Object.keys(WISHES).filter((name) => name !== 'prefer').map((name) => ref('parameters', name)),
  requestBody: {
    required: true,
    content: json({
      type: 'object', required: ['body'], additionalProperties: false,
      properties: {
        url: { type: 'string', description: 'The path of an inference route, as `/v1/chat/completions`; or' },
        dialect: { type: 'string', description: 'the name of its format, as `openai.chat`.' },
        body: { type: 'object', description: 'The request.' },
      },
    }),
  },
  responses: { '202': { ...ACCEPTED, description: 'The job is in Redis.' }, ...refusals('ollama.chat', 'bad_request', 'body_too_large', 'model_not_found', 'key_reused', 'rate_limited', 'quota_exceeded', 'queue_full', 'broker_unavailable') },
}

const all: Operation = {
  tags,
  summary: 'Jobs that outlive their connections, the newest first',
  operationId: 'drover.jobs.list',
  parameters: [
    query('state', 'Only those in this state.', { type: 'string', enum: STATES }),
    query('model', 'Only those of this model.'),
    query('after', 'Only those that were handed in then or later: ISO 8601, or seconds since 1970.'),
    query('before', 'Only those that were handed in before.'),
    query('owner', 'Only those of this owner, for who may see all.'),
    query('limit', 'Jobs of a page.', { type: 'integer', minimum: 1, maximum: 100, default: 20 }),
    query('cursor', 'From `next_cursor` of the page before.'),
  ],
  responses: {
    '200': answer('A page. It may have fewer jobs than asked for and still not be the last.', json(object({ jobs: list(job), next_cursor: { ...maybe('string'), description: '`null`: there is no more.' } }))),
    ...refusals('ollama.chat', 'bad_request', 'broker_unavailable'),
  },
}

const one: Operation = {
  tags,
  summary: 'How a job is',
  operationId: 'drover.jobs.show',
  parameters: [ID],
  responses: { '200': answer('OK', json(job)), ...unknown, ...refusals('ollama.chat', 'broker_unavailable') },
}

const remove: Operation = {
  tags,
  summary: 'Cancel a job, or forget one that has ended',
  operationId: 'drover.jobs.delete',
  parameters: [ID],
  responses: {
    '200': answer('It was cancelled; or it had just ended, and its state tells how.', json(job)),
    '204': answer('It had ended before, and what was kept of it is gone.'),
    ...unknown,
    ...refusals('ollama.chat', 'broker_unavailable'),
  },
}

const result: Operation = {
  tags,
  summary: 'The answer of a job that has ended',
  description: 'What its client would have got, in the format of its own API: the body, or the whole stream. One that did not complete answers with its own error, in that format and with that status.',
  operationId: 'drover.jobs.result',
  parameters: [ID],
  responses: {
    '200': answer('The answer.', { 'application/json': { schema: { type: 'object' } }, 'text/event-stream': { schema: text }, 'application/x-ndjson': { schema: text } }, headers('x-drover-job', 'x-drover-model', 'x-drover-node', 'x-drover-attempts')),
    '409': answer('It has not ended.', json(ref('schemas', 'OllamaError')), headers('Retry-After')),
    ...unknown,
    ...refusals('ollama.chat', 'queue_full', 'broker_unavailable'),
    default: { description: 'The job did not complete: its own error.', headers: ALWAYS },
  },
}

const stream: Operation = {
  tags: ['Drover'],
  summary: "A job's answer as server-sent events, from any place on",
  description:
    'What the job\'s client reads, in the format of its own API: events as they are there, lines as one event each, an answer that is no stream as one event at its end. ' +
    'Each has an id; with the last one the stream goes on behind it, on any gateway. An event without an id at the end of a stream tells an error after which it may be read again.',
  operationId: 'drover.jobs.stream',
  parameters: [
    ID,
    { name: 'Last-Event-ID', in: 'header', required: false, description: 'The id of the last event that was read.', schema: text },
    { name: 'after', in: 'query', required: false, description: 'The same, for readers that cannot set a header; the header counts if both are there.', schema: text },
  ],
  responses: {
    '200': answer('What comes behind that event.', { 'text/event-stream': { schema: text } }, headers('x-drover-job')),
    '204': answer('The job has ended, and all of it has been read.'),
    '404': nativeError('No such job is known; it may have ended too long ago.'),
    ...refusals('ollama.chat', 'bad_request', 'queue_full', 'broker_unavailable'),
  },
}

/** Routes of jobs. */
export const jobOperations = (): OpenApi['paths'] => ({
  '/api/jobs': { get: all, post: handIn },
  '/api/jobs/{id}': { get: one, delete: remove },
  '/api/jobs/{id}/result': { get: result },
  '/api/jobs/{id}/stream': { get: stream },
})
