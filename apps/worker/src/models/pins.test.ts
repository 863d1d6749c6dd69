import type { ModelName } from '@drover/core'
import { expect, test } from 'vitest'
import { keepAliveOf, Pins } from './pins.ts'

const [A, B] = ['a:latest', 'b:latest'] as ModelName[] as [ModelName, ModelName]
const [ONE, TWO] = [{ id: 'one' }, { id: 'two' }]

test('what a load has said goes before the node\'s own policy, for that model on that engine', () => {
  const pins = new Pins({ keepAlive: '7m', numCtx: 4096 })
  pins.set(ONE, A, { keepAlive: '-1', numCtx: 8192 })
  pins.set(TWO, B, { numCtx: 512 })
  expect(pins.policyFor(ONE, A)).toEqual({ keepAlive: -1, numCtx: 8192 })
  expect(pins.policyFor(TWO, B)).toEqual({ keepAlive: '7m', numCtx: 512 })
  for (const [engine, model] of [[ONE, B], [TWO, A]] as const) expect(pins.policyFor(engine, model)).toEqual({ keepAlive: '7m', numCtx: 4096 })
  expect(pins.wishFor(ONE, A)).toEqual({ keepAliveMs: Infinity, numCtx: 8192 })
  expect(pins.wishFor(TWO, B)).toEqual({ keepAliveMs: 420_000, numCtx: 512 })
})

test('the last load counts, unless it is taken back, and nothing after an unload', () => {
  const pins = new Pins({})
  pins.set(ONE, A, { keepAlive: '1h', numCtx: 512 })
  const takeBack = pins.set(ONE, A, { keepAlive: '-1m' })
  expect(pins.policyFor(ONE, A)).toEqual({ keepAlive: '-1m' })
  takeBack()
  expect(pins.policyFor(ONE, A)).toEqual({ keepAlive: '1h', numCtx: 512 })
  pins.clear(ONE, A)
  expect(pins.policyFor(ONE, A)).toEqual({})
  expect(pins.wishFor(ONE, A)).toEqual({ keepAliveMs: undefined, numCtx: undefined })
  pins.set(ONE, A, { keepAlive: '60' })()
  expect(pins.policyFor(ONE, A)).toEqual({})
})

test('a number alone is sent as one: Ollama reads seconds in no text', () => {
  expect(['-1', '0', '300', '5m', '-1s'].map(keepAliveOf)).toEqual([-1, 0, 300, '5m', '-1s'])
})
