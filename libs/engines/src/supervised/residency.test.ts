import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError, type ModelName } from '@drover/core'
import { expect, test } from 'vitest'
import { llamaServer } from '../llama-server.ts'
import type { ModelFile } from './model-files.ts'
import { residency, type ResidencyEvent, type ResidencyOptions } from './residency.ts'
import type { RunningServer } from './server-process.ts'

const facts = { architecture: 'llama', parameters: 1, layers: 1, heads: 1, kvBytesPerToken: 1, vocabulary: 1, metadata: {}, embedding: false, wholeBytes: 1 }
/** A model whose file is as large as its need. */
const file = (model: string, size = 60): ModelFile => ({ model: model as ModelName, path: `/${model}`, size, modifiedAt: '', facts, stamp: model })

/** A house of 100 bytes in which servers start at once, unless told otherwise; processes are only counted. */
const house = (options: Partial<ResidencyOptions> = {}) => {
  const events: ResidencyEvent[] = []
  const running = new Map<ModelName, (error: BrokerError) => void>()
  let most = 0
  const start = async ({ model }: ModelFile): Promise<RunningServer> => {
    const { promise: exited, resolve } = Promise.withResolvers<BrokerError>()
    running.set(model, resolve)
    most = Math.max(most, running.size)
    const gone = (error: BrokerError) => {
      running.delete(model)
      resolve(error)
    }
    running.set(model, gone)
    return {
      pid: 1,
      engine: llamaServer({ id: model, url: 'http://127.0.0.1:1', name: model }),
      exited,
      stop: async () => {
        await sleep(5)
        gone(new BrokerError('engine_failed', 'stopped'))
      },
    }
  }
  const memory = residency({ limit: 100, needOf: ({ size }) => size, start, keepAliveMs: Infinity, turnMs: 60_000, onEvent: (event) => events.push(event), ...options })
  /** A call that has come to its model, or why not. */
  const call = (model: ModelFile) => {
    const { promise: entered, resolve, reject } = Promise.withResolvers<RunningServer>()
    entered.catch(() => {})
    return { entered, leave: memory.ask(model, resolve, reject) }
  }
  const stopped = () => events.flatMap((event) => (event.kind === 'stopped' ? [`${event.model} ${event.why}`] : []))
  return { memory, call, running, events, stopped, most: () => most }
}

const settled = async (promise: Promise<unknown>) => Promise.race([promise.then(() => true), sleep(40).then(() => false)])

test('calls for a model in memory enter at once, and one start serves all', async () => {
  const { call, events } = house()
  await Promise.all([call(file('a')), call(file('a')), call(file('a'))].map(({ entered }) => entered))
  expect(events.map(({ kind }) => kind)).toEqual(['started'])
})

test('an idle model makes room, the one least recently used first; one at work does not', async () => {
  const { memory, call, stopped, most } = house()
  const [a, b] = [call(file('a', 40)), call(file('b', 40))]
  await Promise.all([a.entered, b.entered])
  b.leave()
  await sleep(2)
  a.leave()
  const c = call(file('c', 40))
  await c.entered
  expect(stopped()).toEqual(['b evicted'])
  expect(memory.residents().map(({ model }) => model)).toEqual(['a', 'c'])
  expect(most()).toBe(2)
})

test('a call waits until the work of others leaves room, and those that were first come first', async () => {
  const { call, running } = house()
  const a = call(file('a'))
  await a.entered
  const [b, c] = [call(file('b')), call(file('c', 30))]
  // It would fit, but it came later.
  expect(await settled(c.entered)).toBe(false)
  a.leave()
  await Promise.all([b.entered, c.entered])
  expect([...running.keys()]).toEqual(['b', 'c'])
})

test('once somebody has waited for a turn, the model in memory takes no new calls until the other has had its own', async () => {
  const { memory, call } = house({ turnMs: 20 })
  const first = call(file('a'))
  await first.entered
  const other = call(file('b'))
  const within = call(file('a'))
  await within.entered
  await sleep(30)
  expect(memory.admits('a:latest' as ModelName)).toBe(true)
  expect(memory.admits('a' as ModelName)).toBe(false)
  expect(memory.admits('b' as ModelName)).toBe(false)
  const late = call(file('a'))
  expect(await settled(late.entered)).toBe(false)
  first.leave()
  within.leave()
  await other.entered
  expect(memory.admits('b' as ModelName)).toBe(true)
  other.leave()
  await late.entered
})

test('who leaves while waiting is forgotten', async () => {
  const { memory, call, running } = house()
  const a = call(file('a'))
  await a.entered
  const b = call(file('b'))
  await Promise.resolve()
  b.leave()
  a.leave()
  await sleep(20)
  expect([...running.keys()]).toEqual(['a'])
  expect(memory.residents()).toMatchObject([{ model: 'a' }])
})

test('a model that could never fit is refused with the numbers', async () => {
  const { call } = house({ limit: 3.9e9 })
  await expect(call(file('a', 5.1e9)).entered).rejects.toMatchObject({ code: 'engine_failed', message: 'a needs 5.1 GB of memory, 3.9 GB may be used' })
})

test('a start that fails is told to all who wait for it, and from the second on a pause comes before the next', async () => {
  const begun: number[] = []
  const { call, events } = house({
    start: async () => {
      begun.push(performance.now())
      throw new BrokerError('engine_failed', 'no such thing')
    },
  })
  const both = [call(file('a')), call(file('a'))]
  for (const { entered } of both) await expect(entered).rejects.toThrow('no such thing')
  await expect(call(file('a')).entered).rejects.toThrow('no such thing')
  await expect(call(file('a')).entered).rejects.toThrow('no such thing')
  expect(begun).toHaveLength(3)
  expect((begun[2] ?? 0) - (begun[1] ?? 0)).toBeGreaterThan(400)
  expect(events.map(({ kind }) => kind)).toEqual(['failed', 'failed', 'failed'])
})

test('a process that dies is started again by the next call', async () => {
  const { call, running, events } = house()
  const a = call(file('a'))
  await a.entered
  running.get('a' as ModelName)?.(new BrokerError('engine_failed', 'killed'))
  await sleep(5)
  a.leave()
  await call(file('a')).entered
  expect(events.map(({ kind }) => kind)).toEqual(['started', 'failed', 'started'])
})

test.each([
  [0, ['a idle']],
  [30, ['a idle']],
  [Infinity, []],
])('after the last use a model stays for %d ms', async (keepAliveMs, expected) => {
  const { call, stopped } = house({ keepAliveMs })
  const a = call(file('a'))
  await a.entered
  expect(stopped()).toEqual([])
  a.leave()
  await sleep(60)
  expect(stopped()).toEqual(expected)
})

test('a model whose file has changed is ended when nobody uses it', async () => {
  const { memory, call, stopped } = house()
  const a = call(file('a'))
  await a.entered
  const changed = { ...file('a'), stamp: 'other' }
  memory.refresh([changed])
  expect(await settled(a.entered)).toBe(true)
  a.leave()
  memory.refresh([changed])
  await expect.poll(stopped).toEqual(['a changed'])
})

test('closing refuses who waits, and resolves when every process is gone', async () => {
  const { memory, call, running } = house()
  await call(file('a')).entered
  const b = call(file('b'))
  await sleep(1)
  await memory.close()
  await expect(b.entered).rejects.toThrow('ending')
  await expect(call(file('c')).entered).rejects.toThrow('ending')
  expect(running.size).toBe(0)
})
