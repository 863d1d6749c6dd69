import { BrokerError } from '@drover/core'
import { expect, test } from 'vitest'
import { engineCall, parseModelWork, progressIn } from './model-work.ts'

const DIGEST = `sha256:${'0'.repeat(64)}`

test.each([
  ['pull', { model: ' https://hf.co/a/B:Q4 ', replicas: 2 }, { call: 'pull', model: 'hf.co/a/B:Q4', insecure: false }, { stream: true, replicas: 2 }],
  ['pull', { name: 'x:local', insecure: true, stream: false, username: 'me' }, { call: 'pull', model: 'x', insecure: true }, { stream: false }],
  ['push', { model: 'me/x' }, { call: 'push', model: 'me/x', insecure: false }, {}],
  ['delete', { name: 'x' }, { call: 'delete', model: 'x' }, {}],
  ['copy', { source: 'a', destination: 'b:c' }, { call: 'copy', source: 'a', destination: 'b:c' }, {}],
  ['create', { model: 'n', from: 'a', system: 's', stream: false }, { call: 'create', model: 'n', body: { from: 'a', system: 's' } }, { stream: false, needsBlobs: false }],
  ['create', { model: 'n', files: { 'a.gguf': DIGEST } }, { call: 'create', model: 'n', body: {} }, { needsBlobs: true }],
  ['create', { model: 'n', from: 'a', draft_files: { 'a.gguf': DIGEST } }, { call: 'create', model: 'n', body: { from: 'a' } }, { needsBlobs: true }],
  ['load', { model: 'x' }, { call: 'load', model: 'x' }, { stream: true }],
  ['load', { model: 'x', keep_alive: -5, num_ctx: 8192, replicas: 2, stream: false }, { call: 'load', model: 'x', keepAlive: '-1', numCtx: 8192 }, { stream: false, replicas: 2 }],
  ['load', { model: 'x', keep_alive: 0.25 }, { call: 'load', model: 'x', keepAlive: '1' }, {}],
  ['load', { model: 'x', keep_alive: 1e300 }, { call: 'load', model: 'x', keepAlive: '1000000000' }, {}],
  ['load', { model: 'x', keep_alive: '-1m' }, { call: 'load', model: 'x', keepAlive: '-1m' }, {}],
  ['unload', { name: ' x:local ' }, { call: 'unload', model: 'x' }, { stream: true }],
] as const)('%s %j', (call, body, work, more) => {
  expect(parseModelWork(call, JSON.stringify(body))).toMatchObject({ work, ...more })
})

const TRICKS = ['../x', '/etc/passwd', 'a/../../b', '..', './x', 'a//b', 'a\\b', 'a%2fb', 'x:../y', 'x:/y', 'a/b/c/d', 'file:///x', 'x\0', 'x\ny', '\u2024\u2024/x', '-x', '.x', 'x:', '~/x', `${'x'.repeat(81)}`, 'a/b/../c', '..%2f..']

test.for(TRICKS)('%j is no name, whatever is to be done with it', (name) => {
  const bodies = [['load', { model: name }], ['unload', { model: name }], ['pull', { model: name }], ['push', { model: name }], ['delete', { model: name }], ['copy', { source: name, destination: 'x' }], ['copy', { source: 'x', destination: name }], ['create', { model: name, from: 'x' }], ['create', { model: 'x', from: name }]] as const
  for (const [call, body] of bodies) expect(() => parseModelWork(call, JSON.stringify(body)), `${call} ${JSON.stringify(body)}`).toThrow(BrokerError)
})

test.each([[0], ['0'], ['0s'], ['-0m']])('a model is not loaded to be kept for %j', (keepAlive) => {
  expect(() => parseModelWork('load', JSON.stringify({ model: 'x', keep_alive: keepAlive }))).toThrow('would be unloaded at once')
})

test('an engine is asked by its own name for what it holds', () => {
  expect(engineCall({ call: 'delete', model: 'x' }, 'X:latest')).toEqual({ method: 'DELETE', path: '/api/delete', body: '{"model":"X:latest"}', streams: false })
  expect(engineCall({ call: 'copy', source: 'x', destination: 'y' }, 'X:latest')).toMatchObject({ path: '/api/copy', body: '{"source":"X:latest","destination":"y"}' })
  expect(engineCall({ call: 'pull', model: 'x', insecure: false })).toEqual({ method: 'POST', path: '/api/pull', body: '{"model":"x","insecure":false,"stream":true}', streams: true })
  expect(engineCall({ call: 'create', model: 'x', body: { from: 'y', stream: false } })).toMatchObject({ body: '{"from":"y","stream":true,"model":"x"}' })
})

test('what an engine tells is read, and an error is thrown in its words', () => {
  expect(progressIn('{"status":"pulling a","digest":"d","total":5,"completed":0,"more":1}')).toEqual({ status: 'pulling a', digest: 'd', total: 5 })
  expect(() => progressIn('{"error":"pull model manifest: file does not exist"}')).toThrow(expect.objectContaining({ code: 'engine_refused', status: 500, message: 'pull model manifest: file does not exist' }))
  for (const line of ['', 'x', '[]', '{}', '{"status":1}']) expect(() => progressIn(line)).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
})
