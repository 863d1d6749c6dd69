import { BrokerError, type ModelName } from '@drover/core'
import { expect, test } from 'vitest'
import { AwaitedModels } from './awaited.ts'

const names = (count: number, of = 'm'): ModelName[] => Array.from({ length: count }, (_, i) => `${of}${i}:latest` as ModelName)

/** With a clock that is set by hand. */
const stage = () => {
  const clock = { ms: 0 }
  return { clock, awaited: new AwaitedModels({ now: () => clock.ms }) }
}

test('jobs wait for so many models at once that nobody holds, and for each of those any number', () => {
  const { clock, awaited } = stage()
  for (const model of names(64)) awaited.enter(model)
  const other = 'other:latest' as ModelName
  expect(() => awaited.enter(other)).toThrow(expect.objectContaining({ code: 'queue_full', status: 503 }) as Error)
  for (const model of names(64)) awaited.enter(model)
  // Those on their way are counted although none of them is seen in its lane yet.
  awaited.found([])
  expect(() => awaited.enter(other)).toThrow('64 other models')
  clock.ms += 5_001
  awaited.found(names(63))
  awaited.enter(other)
  expect(() => awaited.enter('one-more:latest' as ModelName)).toThrow('64 other models')
  // Jobs that came by way of another gateway are served, however many.
  awaited.found(names(100, 'x'))
  awaited.found([...names(63), ...names(100, 'x')])
})

test('what no registry has is remembered for a minute, and of many names the last', () => {
  const { clock, awaited } = stage()
  const error = new BrokerError('engine_refused', 'file does not exist')
  for (const model of names(1_001)) awaited.isUnknown(model, error)
  expect([awaited.refusal('m0:latest' as ModelName), awaited.refusal('m1:latest' as ModelName), awaited.refusal('m1000:latest' as ModelName)]).toEqual([undefined, error, error])
  clock.ms = 59_000
  awaited.found([])
  awaited.isUnknown('m1:latest' as ModelName, error)
  clock.ms = 61_000
  awaited.found([])
  expect([awaited.refusal('m1:latest' as ModelName), awaited.refusal('m2:latest' as ModelName)]).toEqual([error, undefined])
})
