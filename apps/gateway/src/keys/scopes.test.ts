import { BrokerError, type Caller, type Owner, type Scope } from '@drover/core'
import { expect, test } from 'vitest'
import { checkScope, scopesOf } from './scopes.ts'

test.each<[Scope[] | undefined, string[]]>([
  [['infer'], ['/api/chat', '/v1/chat/completions', '/v1/messages', '/v1/messages/count_tokens', '/rerank', '/tokenize', '/v1/responses', '/v1/responses/resp_1/cancel', '/api/jobs', '/api/jobs/0-x/stream']],
  [['batch'], ['/v1/files', '/v1/files/f/content', '/v1/batches', '/v1/batches/b/cancel', '/v1/messages/batches', '/v1/messages/batches/b/results']],
  [['infer', 'batch'], ['/api/webhooks', '/api/webhooks/1', '/api/webhooks/1/test']],
  [['models'], ['/api/pull', '/api/push', '/api/create', '/api/copy', '/api/delete', '/api/transfer', '/api/load', '/api/unload', '/api/blobs/sha256:0', '/api/models/desired']],
  [['metrics'], ['/metrics']],
  [['admin'], ['/api/keys', '/api/keys/', '/api/keys/k1/rotate', '/api/nodes/n1/drain', '/api/nodes/n1/undrain']],
  [undefined, ['/api/tags', '/api/models', '/api/ps', '/api/version', '/api/show', '/v1/models', '/v1/models/a/b', '/api/status', '/api/nodes', '/api/nodes/n1', '/api/chatter', '/nothing', '/api/keysmith', '/api/pulling']],
])('a key needs one of the scopes %j for %j', (scopes, paths) => {
  expect(paths.map(scopesOf)).toEqual(paths.map(() => scopes))
})

const caller = (...scopes: Scope[]): Caller => ({ owner: 'k1' as Owner, scopes: new Set(scopes), priorityCeiling: 5, batchShare: 1 })

test('a key without the scope of a route is told which one it lacks; admin has them all', () => {
  expect(() => checkScope(caller('infer'), '/v1/files')).toThrow(new BrokerError('forbidden', 'this API key may not do that: it lacks the scope "batch"'))
  expect(() => checkScope(caller('models', 'metrics'), '/api/webhooks')).toThrow(new BrokerError('forbidden', 'this API key may not do that: it lacks the scope "infer" or "batch"'))
  for (const scope of ['infer', 'batch'] as const) expect(() => checkScope(caller(scope), '/api/webhooks')).not.toThrow()
  for (const path of ['/v1/files', '/api/keys', '/metrics', '/api/chat']) expect(() => checkScope(caller('admin'), path)).not.toThrow()
  expect(() => checkScope(caller('metrics'), '/api/tags')).not.toThrow()
})
