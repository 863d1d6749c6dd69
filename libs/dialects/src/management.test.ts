import { expect, test } from 'vitest'
import { blobDigest, managementNotFound, parseManagement, type ManagementCall } from './management.ts'

test.each<[ManagementCall, unknown, string]>([
  ['show', { name: 'a' }, 'a'],
  ['show', { MODEL: 'A:b', Verbose: true }, 'A:b'],
  ['show', { model: '', name: 'older' }, 'older'],
  ['pull', { model: 'hf.co/a/b:q4', insecure: true, stream: false }, 'hf.co/a/b:q4'],
  ['create', { model: 'new', from: 'old', parameters: { temperature: 1 }, license: ['a', 'b'] }, 'new'],
  ['create', { model: 'new', files: { 'a.gguf': `sha256:${'0'.repeat(64)}` } }, 'new'],
  ['copy', { source: 'a', destination: 'b' }, 'a'],
  ['delete', { name: 'a', model: null }, 'a'],
])('%s %j is about %s', (call, body, model) => {
  expect(parseManagement(call, JSON.stringify(body))).toEqual({ model, ignored: [] })
})

test('unknown fields are named', () => {
  expect(parseManagement('show', '{"model":"a","zz":1}')).toEqual({ model: 'a', ignored: ['zz'] })
})

test.each<[string, string]>([
  ['nobody', 'nobody:latest'], ['library/NoBody', 'NoBody:latest'], ['registry.ollama.ai/library/x:1', 'x:1'], ['me/x', 'me/x:latest'], ['host:5000/me/x', 'host:5000/me/x:latest'],
])('show tells the whole name of %s', (asked, told) => {
  expect(managementNotFound('show', asked).message).toBe(`model '${told}' not found`)
})

test('a blob’s digest is sha256 and 64 hex digits', () => {
  expect([`sha256:${'a'.repeat(64)}`, `sha256-${'A'.repeat(64)}`, 'a'.repeat(64), 'sha256:12', `sha256:${'g'.repeat(64)}`].map(blobDigest)).toEqual(['a'.repeat(64), 'a'.repeat(64), undefined, undefined, undefined])
})
