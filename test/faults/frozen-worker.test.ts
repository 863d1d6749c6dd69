import { openGateway, openWorker, type FrameSink, type Lease } from '@drover/broker'
import { LOCAL, type Frame, type JobId, type ModelName } from '@drover/core'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { connect } from '../../libs/broker/src/connection.ts'
import { keys, laneOf } from '../../libs/broker/src/keys.ts'
import { Lanes, LOCK_MS } from '../../libs/broker/src/lanes.ts'
import { scripts } from '../../libs/broker/src/scripts.ts'
import { spawnScriptedEngine, type ScriptedEngineProcess } from '../engine/spawn.ts'
import { ask } from '../support/client.ts'
import { Installation, until, type Gateway, type Part } from '../support/drover.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

interface Site {
  gateway: Gateway
  workers: [Part, Part]
  engines: [ScriptedEngineProcess, ScriptedEngineProcess]
}

/** Two nodes with the same model, and which of them runs a job. */
const site = async (): Promise<Site> => {
  const installation = new Installation(redis.url)
  const engines = await Promise.all([spawnScriptedEngine({ slots: 4 }), spawnScriptedEngine({ slots: 4 })])
  onTestFinished(async () => {
    await installation.stop()
    await Promise.all(engines.map((engine) => engine.close()))
  })
  const gateway = await installation.gateway()
  const workers = await Promise.all(engines.map((engine, i) => installation.worker(`n${i}`, [{ url: engine.url, slots: 4 }], { gateway })))
  return { gateway, workers: workers as [Part, Part], engines }
}

const holder = async ({ engines }: Site, key: string): Promise<0 | 1> => {
  let found: 0 | 1 | undefined
  await until(`a node runs ${key}`, async () => {
    for (const i of [0, 1] as const) if ((await engines[i].admin.job(key)).running > 0) found = i
    return found !== undefined
  })
  return found!
}

const lostIn = (worker: Part) => worker.log().split('\n').filter((line) => line.includes('"outcome":"lost"')).length

test('a worker frozen in mid-stream and woken again writes nothing more, and the client hears the right answer once', async () => {
  const s = await site()
  const asking = ask(s.gateway.url, 'openai.chat', { key: 'mid', script: { tokens: 400, rate: 40 } })
  await asking.tokens(5)
  const frozen = await holder(s, 'mid')
  s.workers[frozen].signal('SIGSTOP')
  const told = await asking.told
  expect(told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 400 } })
  s.workers[frozen].signal('SIGCONT')
  await until('the woken worker has noticed', () => lostIn(s.workers[frozen]) === 1)
  await until('its engine has stopped', async () => (await s.engines[frozen].admin.job('mid')).running === 0)
})

test('a worker frozen while it gathers a whole answer is replaced, and its own answer is refused', async () => {
  const s = await site()
  const asking = ask(s.gateway.url, 'ollama.chat', { key: 'whole', stream: false, script: { tokens: 60, stall_at: 30 } })
  const frozen = await holder(s, 'whole')
  s.workers[frozen].signal('SIGSTOP')
  const other = s.engines[1 - frozen]!
  await until('the other runs it', async () => (await other.admin.job('whole')).running > 0)
  // Its own answer is whole, too, and waits for it to wake.
  await Promise.all(s.engines.map(({ admin }) => admin.release('whole')))
  const told = await asking.told
  expect(told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 60 } })
  expect(told.headers).toMatchObject({ 'x-drover-node': `n${1 - frozen}`, 'x-drover-attempts': '2' })
  s.workers[frozen].signal('SIGCONT')
  await until('the woken worker has noticed', () => lostIn(s.workers[frozen]) === 1)
  expect((await s.engines[frozen].admin.job('whole')).completed).toBe(1)
})

test('a wake-up that went to a frozen worker does not hold the job up', async () => {
  const s = await site()
  // Whichever worker is woken first is the frozen one for about half of these.
  s.workers[0].signal('SIGSTOP')
  for (let i = 0; i < 4; i += 1) {
    const told = await ask(s.gateway.url, 'ollama.generate', { key: `idle${i}`, script: { tokens: 3 } }).told
    expect(told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 3 } })
    expect(told.headers['x-drover-node']).toBe('n1')
  }
  s.workers[0].signal('SIGCONT')
  const told = await ask(s.gateway.url, 'ollama.generate', { key: 'after', script: { tokens: 3 } }).told
  expect(told).toMatchObject({ ended: true, verdict: { ok: true, count: 3 } })
})

/** The parts of a lease one by one, so that time can pass between them. */
const byHand = async () => {
  const prefix = `{hand${Math.random().toString(36).slice(2)}}`
  const settings = { url: redis.url, prefix, onError: (error: unknown) => expect.unreachable(String(error)) }
  const gateway = await openGateway('g', { ...settings, laneLimit: 10 })
  const other = await openWorker('other', settings)
  const connection = await connect({ url: redis.url }, 'by-hand')
  const named = keys(prefix)
  const lanes = new Lanes(connection, named)
  onTestFinished(async () => {
    connection.disconnect()
    await gateway.close()
    await other.close()
  })
  const frames: Frame[] = []
  const ended = Promise.withResolvers<void>()
  const sink: FrameSink = {
    frame: (frame) => {
      frames.push(frame)
      if (frame.end) ended.resolve()
    },
    lost: ended.reject,
  }
  const model = 'm:latest' as ModelName
  const lane = laneOf(model, 'interactive')
  const submit = () =>
    gateway.jobs.submit({ dialect: 'ollama.chat', model, asked: 'm', class: 'interactive', owner: LOCAL, stream: true, slots: 1, body: '{}', timeoutMs: 60_000 }, sink)
  /** The other worker, as soon as the first one's lease has run out. */
  const takeOver = async () => {
    const leases: Lease[] = []
    await until('the job is back in its lane', async () => {
      const lease = await other.jobs.take(lane)
      return typeof lease === 'object' && leases.push(lease) > 0
    })
    return leases[0]!
  }
  const defined = scripts(connection)
  const names = ['wait', 'active', 'prioritized', 'events', 'stalled', 'limiter', 'delayed', 'paused', 'meta', 'pc', 'marker']
  const take = (token: string) =>
    defined.take(
      [...names.map((name) => named.ofLane(lane, name)), named.took(token), named.ofLane(lane, 'ranks'), named.ofLane(lane, 'since')],
      [prefix, 1000, named.ofLane(lane, ''), Date.now(), token, LOCK_MS, 'frozen', 3, '{}', '{}', 0],
    ) as Promise<[string, JobId, string, number, number]>
  const append = (id: JobId, attempt: number, token: string, first: number, text: string, record = '') =>
    defined.append([named.job(id), named.log(id), named.body(id)], [prefix, 1000, 1e6, id, attempt, token, first, 1, JSON.stringify([{ text }]), record])
  return { submit, takeOver, take, append, lanes, lane, frames, ended: ended.promise }
}

test('a worker frozen as soon as its attempt has begun can neither append nor end the job any more', async () => {
  const { submit, takeOver, take, append, lanes, lane, frames, ended } = await byHand()
  await submit()
  const taken = await take('frozen-token')
  const [, id] = taken
  expect(taken.slice(0, 1)).toEqual(['begun'])
  const again = await take('frozen-token')
  expect([again[1], again[3]], 'a take sent twice is one attempt').toEqual([id, 1])
  const lease = await takeOver()
  expect(lease.attempt).toBe(2)
  const record = '{"outcome":"completed","attempt":1}'
  expect(await append(id, 1, 'frozen-token', 1, 'stale')).toEqual(['stale'])
  expect(await append(id, 1, 'frozen-token', 1, 'stale', record)).toEqual(['stale'])
  lease.append('right')
  expect(await lease.settle({ kind: 'completed' })).toBe(true)
  expect(await append(id, 1, 'frozen-token', 1, 'stale', record)).toEqual(['ended'])
  expect(await lanes.finish(lane, id, 'frozen-token'), 'nor has it a lock').toBe(false)
  await ended
  expect(frames).toMatchObject([{ text: 'right', end: { outcome: 'completed', attempt: 2 } }])
})

test('an attempt that froze in mid-answer appends nothing between the frames of the next one', async () => {
  const { submit, takeOver, take, append, frames, ended } = await byHand()
  await submit()
  const [, id] = await take('frozen-token')
  expect(await append(id, 1, 'frozen-token', 1, 'first ')).toEqual(['ok'])
  expect(await append(id, 1, 'frozen-token', 1, 'first '), 'sent twice, stored once').toEqual(['ok'])
  const lease = await takeOver()
  lease.reset()
  lease.append('right ')
  await until('the second attempt has written', () => frames.length === 2)
  expect(await append(id, 1, 'frozen-token', 2, 'stale')).toEqual(['stale'])
  lease.append('answer')
  await lease.settle({ kind: 'completed' })
  await ended
  expect(frames).toMatchObject([{ text: 'first ' }, { reset: true, text: 'right ' }, { text: 'answer', end: { attempt: 2 } }])
})
