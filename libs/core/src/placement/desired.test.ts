import { expect, test } from 'vitest'
import { DesiredState, writtenOf } from './desired.ts'

test('a state is kept as it was written, in one order', () => {
  const state = DesiredState.parse({ models: { 'hf.co/Some/Model:Q4_K_M': null, 'B:1b': { nodes: ['n2', 'n1'] }, a: { preload: true, keepAlive: -1, numCtx: 512 } } })
  expect([...state.models.keys()]).toEqual(['hf.co/some/model:q4_k_m', 'b:1b', 'a:latest'])
  const written = writtenOf(state)
  expect(JSON.stringify(written)).toBe('{"models":{"a":{"preload":true,"keepAlive":"-1","numCtx":512},"B:1b":{"nodes":["n2","n1"]},"hf.co/Some/Model:Q4_K_M":{}},"prune":false}')
  expect(writtenOf(DesiredState.parse(written))).toEqual(written)
  for (const nothing of [{}, { models: null }, { models: {} }]) expect(DesiredState.parse(nothing)).toEqual({ models: new Map(), prune: false })
})

test.each<[object, string]>([
  [{ replicas: 0 }, 'm.replicas'], [{ replicas: 1.5 }, 'm.replicas'], [{ nodes: [] }, 'm.nodes'], [{ nodes: ['n1', 'n1'] }, 'm.nodes'], [{ nodes: ['a b'] }, 'm.nodes.0'], [{ nodes: ['n1'], replicas: 1 }, 'm.replicas'],
  [{ nodes: ['n1'], labels: {} }, 'm.labels'], [{ labels: { gpu: 1 } }, 'm.labels.gpu'], [{ labels: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`l${i}`, ''])) }, 'm.labels'], [{ keepAlive: '5m' }, 'm.keepAlive'],
  [{ preload: true, keepAlive: '0' }, 'm.keepAlive'], [{ preload: true, keepAlive: 0 }, 'm.keepAlive'], [{ preload: true, keepAlive: '5 minutes' }, 'm.keepAlive'], [{ preload: true, keepAlive: '5q' }, 'm.keepAlive'], [{ preload: true, numCtx: 0 }, 'm.numCtx'],
  [{ replica: 2 }, 'm'],
])('refused: %j', (wish, where) => {
  const { error } = DesiredState.safeParse({ models: { m: wish } })
  expect(error?.issues.map(({ path }) => path.join('.'))).toEqual([`models.${where}`])
})

test.each(['10m', '1h30m', '-1', '600', '1.5h', 300, -1])('a time to keep a model: %j', (keepAlive) => {
  expect(DesiredState.parse({ models: { m: { preload: true, keepAlive } } }).models.values().next().value?.keepAlive).toBe(String(keepAlive))
})

test.each([[1_000, true], [1_001, false]])('%d models can be looked at every two seconds: %j', (count, may) => {
  expect(DesiredState.safeParse({ models: Object.fromEntries(Array.from({ length: count }, (_, i) => [`m${i}`, {}])) }).success).toBe(may)
})
