import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError, type ModelName } from '@drover/core'
import { expect, test } from 'vitest'
import { llamaServer } from '../llama-server.ts'
import type { ModelFile } from './model-files.ts'
import { residency, type ResidencyEvent, type ResidencyOptions } from './residency.ts'
import { sharedRoom } from './room.ts'
import type { RunningServer } from './server-process.ts'

const weights = { layers: [1], input: 0, output: 0, embeddings: 0, largest: 1, ownOutput: true }
const shape = { layers: [1], kv: [1], input: 0, output: 0, largest: 1, embedding: 1, feedForward: 1, vocabulary: 1, heads: 1 }
const facts = { architecture: 'llama', parameters: 1, shape, weights, metadata: {}, embedding: false, wholeBytes: 1 }
/** A model whose file is as large as its need. */
const file = (model: string, size = 60): ModelFile => ({ model: model as ModelName, path: `/${model}`, size, modifiedAt: '', facts, stamp: model })

/** Memory of which `others` have some. */
const shared = (others = 0, most = 100) => {
  const share = { most, others, used: 0, waited: 0, now: () => most - share.others, use: (bytes: number) => void (share.used = bytes), short: () => void (share.waited += 1) }
  return share
}

const sizeOf = ({ size }: ModelFile): number => size

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
  const memory = residency({ room: sharedRoom(shared(), sizeOf), start, keepAliveMs: Infinity, turnMs: 60_000, onEvent: (event) => events.push(event), ...options })
  /** A call that has come to its model, or why not. */
  const call = (model: ModelFile) => {
    const { promise: entered, resolve, reject } = Promise.withResolvers<RunningServer>()
    entered.catch(() => {})
    return { entered, leave: memory.ask(model, resolve, reject) }
  }
  const stopped = () => events.flatMap((event) => (event.kind === 'stopped' ? [`${event.model} ${event.why}`] : []))
  return { memory, call, running, events, stopped, most: () => most }
}

const never = new AbortController().signal
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
  expect(memory.residents().map((resident) => resident.file.model)).toEqual(['a', 'c'])
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
  const { memory, call } = house({ turnMs: 2_000 })
  const first = call(file('a'))
  await first.entered
  const other = call(file('b'))
  const within = call(file('a'))
  await within.entered
  await expect.poll(() => memory.admits('a' as ModelName)).toBe(false)
  expect(memory.admits('a:latest' as ModelName)).toBe(true)
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
  expect(memory.residents()).toMatchObject([{ file: { model: 'a' } }])
})

test('a model that could never fit is refused with the numbers', async () => {
  const { call } = house({ room: sharedRoom(shared(0, 3.9e9), sizeOf) })
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
  await expect.poll(stopped).toEqual(expected)
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

test('a model whose memory somebody else wants goes when it is idle, and takes no new calls once it has had its turn', async () => {
  const { memory, running, events, call } = house({ turnMs: 2_000 })
  const a = call(file('a'))
  await a.entered
  const wanted = (is = true) => memory.wanted('a' as ModelName, is)
  wanted()
  // Its turn is not over.
  const b = call(file('a'))
  await b.entered
  await expect.poll(() => memory.admits('a' as ModelName)).toBe(false)
  const late = call(file('a'))
  expect(await settled(late.entered)).toBe(false)
  wanted(false)
  expect(memory.admits('a' as ModelName)).toBe(true)
  late.leave()
  wanted()
  a.leave()
  b.leave()
  wanted()
  // Between two calls it is idle for a moment.
  expect([...running.keys()]).toEqual(['a'])
  await sleep(220)
  wanted()
  await expect.poll(() => running.size).toBe(0)
  expect(events.at(-1)).toEqual({ kind: 'stopped', model: 'a', why: 'evicted' })
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

test('what others have is waited for and said to be missed, and a model that would never fit is refused', async () => {
  const share = shared(50)
  const { memory, call } = house({ room: sharedRoom(share, sizeOf) })
  await call(file('a', 40)).entered
  expect(share).toMatchObject({ used: 40, waited: 0 })
  await expect(call(file('x', 101)).entered).rejects.toThrow('x needs 1 MB of memory, 1 MB may be used')
  const b = call(file('b', 60))
  expect(await settled(b.entered)).toBe(false)
  expect(share.waited).toBeGreaterThan(0)
  expect(memory.admits('b' as ModelName)).toBe(false)
  share.others = 0
  expect(memory.admits('b' as ModelName)).toBe(true)
  memory.refresh([file('a'), file('b')])
  await b.entered
  expect(share.used).toBe(100)
  await memory.close()
  expect(share.used).toBe(0)
})

test('a model that is let go leaves when its calls have ended, and a new one waits for its next start', async () => {
  const { memory, call, stopped, events } = house()
  const first = call(file('a'))
  await first.entered
  let isOut = false
  const out = memory.release('a' as ModelName, never).then(() => (isOut = true))
  const second = call(file('a'))
  expect(await settled(second.entered)).toBe(false)
  expect([isOut, stopped()]).toEqual([false, []])
  first.leave()
  await out
  await second.entered
  expect(stopped()).toEqual(['a unloaded'])
  expect(events.filter(({ kind }) => kind === 'started')).toHaveLength(2)
  await memory.release('nobody' as ModelName, never)
})

test('a model that is to be let go and then is not stays, and takes the calls that have waited', async () => {
  const { memory, call, stopped, events } = house()
  const first = call(file('a'))
  await first.entered
  const [one, other] = [new AbortController(), new AbortController()]
  const out = [one, other].map(({ signal }) => memory.release('a' as ModelName, signal))
  const second = call(file('a'))
  one.abort(new Error('left'))
  await expect(out[0]).rejects.toThrow('left')
  // Somebody else still wants it out.
  expect([memory.admits('a' as ModelName), await settled(second.entered)]).toEqual([false, false])
  other.abort(new Error('left, too'))
  await expect(out[1]).rejects.toThrow('left, too')
  await second.entered
  first.leave()
  second.leave()
  expect([stopped(), events.length, memory.admits('a' as ModelName)]).toEqual([[], 1, true])
})

test('a model may have a time of its own; one that is to stay makes room, the last of all', async () => {
  const { memory, call, stopped } = house({ keepAliveMs: 20 })
  for (const [name, ms] of [['a', Infinity], ['b', 3_600_000]] as const) {
    memory.keep(name as ModelName, ms)
    const used = call(file(name, 40))
    await used.entered
    used.leave()
  }
  expect(memory.residents().map((each) => [each.file.model, each.expiresAt !== undefined])).toEqual([['a', false], ['b', true]])
  const c = call(file('c', 40))
  await c.entered
  expect(stopped()).toEqual(['b evicted'])
  expect(memory.keep('a' as ModelName, undefined)).toBe(Infinity)
  await expect.poll(stopped).toEqual(['b evicted', 'a idle'])
  c.leave()
  await expect.poll(stopped).toEqual(['b evicted', 'a idle', 'c idle'])
})
