import { BrokerError, DialectId } from '@drover/core'
import { describe, expect, test } from 'vitest'
import { dialectByPath, dialects } from './index.ts'

const NATIVE = ['ollama.chat', 'ollama.generate'] as const
const context = { model: 'Llama "3"', createdAt: Date.UTC(2026, 10, 20) }

test('every dialect is found by its id and by its path', () => {
  for (const id of DialectId.options) expect(dialectByPath.get(dialects[id].path)).toBe(dialects[id])
  expect(dialectByPath.size).toBe(DialectId.options.length)
})

describe.each(NATIVE)('%s', (id) => {
  const dialect = dialects[id]

  test('an error is an object with a text', () => {
    expect(dialect.refuse(new BrokerError('model_not_found', "model 'x' not found"))).toEqual({
      status: 404, contentType: 'application/json; charset=utf-8', body: `{"error":"model 'x' not found"}`,
    })
    expect(dialect.errorEvent(new BrokerError('node_lost', 'the node\nis gone'))).toBe('{"error":"the node\\nis gone"}\n')
  })

  test('a full queue is told in the words by which clients know it', () => {
    const { status, body } = dialect.refuse(new BrokerError('queue_full', 'the lane of x is full'))
    expect({ status, ...JSON.parse(body) }).toEqual({
      status: 503, error: 'server busy, please try again.  maximum pending requests exceeded',
    })
  })

  test('a keep-alive is an empty chunk that is not the end', () => {
    const event = dialect.keepAlive(context)
    expect(event.endsWith('}\n')).toBe(true)
    const said = id === 'ollama.chat' ? { message: { role: 'assistant', content: '' } } : { response: '' }
    expect(JSON.parse(event)).toEqual({ model: 'Llama "3"', created_at: '2026-11-20T00:00:00.000Z', done: false, ...said })
  })
})

describe('openai.chat', () => {
  const dialect = dialects['openai.chat']

  test.each([
    ['bad_request', 400, 'invalid_request_error'],
    ['model_not_found', 404, 'not_found_error'],
    ['engine_failed', 502, 'api_error'],
    ['unauthorized', 401, 'invalid_request_error', 'invalid_api_key'],
    ['forbidden', 403, 'invalid_request_error', 'insufficient_permissions'],
    ['rate_limited', 429, 'rate_limit_error', 'rate_limit_exceeded'],
    ['quota_exceeded', 429, 'insufficient_quota', 'insufficient_quota'],
  ] as const)('%s is status %i and %s', (code, status, type, named: string | null = null) => {
    const answer = dialect.refuse(new BrokerError(code, 'text'))
    expect({ status: answer.status, ...JSON.parse(answer.body) }).toEqual({ status, error: { message: 'text', type, param: null, code: named } })
  })

  test('an error ends a stream without saying that it is done', () => {
    const event = dialect.errorEvent(new BrokerError('node_lost', 'gone'))
    expect(event).toBe('data: {"error":{"message":"gone","type":"api_error","param":null,"code":null}}\n\n')
  })

  test('a keep-alive is a comment', () => {
    expect(dialect.keepAlive(context)).toMatch(/^: [a-z]+\n\n$/)
  })
})

test.each(DialectId.options)('%s hands on the error body that an engine gave', (id) => {
  const body = '{"error":{"message":"x","type":"exceed_context_size_error","n_ctx":5}}'
  expect(dialects[id].refuse(new BrokerError('engine_refused', 'x', { status: 413, body }))).toMatchObject({ status: 413, body })
})
