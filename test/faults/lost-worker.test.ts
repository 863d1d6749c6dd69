import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { spawnScriptedEngine, type ScriptedEngineProcess } from '../engine/spawn.ts'
import { ask } from '../support/client.ts'
import { Installation, statusOf, until } from '../support/drover.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

const site = async (env: Record<string, string> = {}) => {
  const installation = new Installation(redis.url)
  const engines: ScriptedEngineProcess[] = []
  onTestFinished(async () => {
    await installation.stop()
    await Promise.all(engines.map((engine) => engine.close()))
  })
  const gateway = await installation.gateway(env)
  const node = async (name: string) => {
    const engine = await spawnScriptedEngine({ slots: 4 })
    engines.push(engine)
    return { engine, worker: await installation.worker(name, [{ url: engine.url, slots: 4 }], { gateway, env }) }
  }
  return { gateway, node }
}

test('the jobs of a worker that was killed run elsewhere, and their clients do not notice', async () => {
  const { gateway, node } = await site()
  const first = await node('first')
  // On the first node neither would ever end.
  await first.engine.admin.set({ hold: 1 }, 'silent')
  await first.engine.admin.set({ tokens: 30, stall_at: 10 }, 'whole')
  const whole = ask(gateway.url, 'openai.chat', { key: 'whole', stream: false, script: { tokens: 30 } })
  const silent = ask(gateway.url, 'ollama.chat', { key: 'silent', script: { tokens: 5 } })
  const halfway = ask(gateway.url, 'ollama.generate', { key: 'halfway', script: { tokens: 500, rate: 20, times: 1 } })
  await until('both whole answers are under way', async () => (await first.engine.admin.job('whole')).running + (await first.engine.admin.job('silent')).running === 2)
  await halfway.tokens(3)
  const second = await node('second')
  const killedAt = performance.now()
  first.worker.signal('SIGKILL')
  await until('the job runs on the other node', async () => (await second.engine.admin.job('whole')).requests > 0)
  console.log(`running elsewhere ${((performance.now() - killedAt) / 1000).toFixed(1)} s after the kill`)
  for (const [asking, tokens] of [[whole, 30], [silent, 5]] as const) {
    const told = await asking.told
    expect(told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: tokens } })
    expect(told.headers).toMatchObject({ 'x-drover-node': 'second', 'x-drover-attempts': '2' })
  }
  expect(await halfway.told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 500 } })
})

test('a worker that is told to stop takes nothing new and lets its jobs end', async () => {
  const { gateway, node } = await site()
  const first = await node('first')
  const streams = ['a', 'b'].map((key) => ask(gateway.url, 'ollama.chat', { key, script: { tokens: 240, rate: 400, stall_at: 10 } }))
  await Promise.all(streams.map((stream) => stream.tokens(3)))
  const second = await node('second')
  first.worker.signal('SIGTERM')
  await until('the node says so', async () => (await statusOf(gateway.url)).nodes.some(({ id, draining }) => id === 'first' && draining))
  const late = await ask(gateway.url, 'ollama.chat', { key: 'late', script: { tokens: 5 } }).told
  expect(late.headers['x-drover-node']).toBe('second')
  // Not before: however long the second node took to come, they were under way when the first was told.
  await first.engine.admin.release()
  for (const stream of streams) expect(await stream.told).toMatchObject({ ended: true, verdict: { ok: true, count: 240 } })
  expect(await first.worker.exited).toBe(0)
  expect((await second.engine.admin.stats()).requests).toBe(1)
})

test('what a stopping worker cannot finish in time is given back, and runs elsewhere at once', async () => {
  const { gateway, node } = await site({ DROVER_DRAIN_LIMIT: '300ms' })
  const first = await node('first')
  // There it would never end, however long the second node takes to come.
  await first.engine.admin.set({ tokens: 40, stall_at: 10 }, 'long')
  const long = ask(gateway.url, 'ollama.chat', { key: 'long', stream: false, script: { tokens: 40, rate: 10 } })
  await until('it runs', async () => (await first.engine.admin.job('long')).running === 1)
  const second = await node('second')
  first.worker.signal('SIGTERM')
  await until('it runs on the other node', async () => (await second.engine.admin.job('long')).requests === 1)
  expect(await first.worker.exited).toBe(0)
  // By its own hand: nobody had to wait until its lease was over.
  expect(first.worker.log().split('\n').filter((line) => line.includes('"attempt over"')).map((line) => (JSON.parse(line) as { outcome: string }).outcome)).toEqual(['returned'])
  expect(await long.told).toMatchObject({ ended: true, verdict: { ok: true, count: 40 } })
})

test('a gateway that is told to stop lets answers end, and those that take too long with an honest error', async () => {
  const { gateway, node } = await site({ DROVER_DRAIN_LIMIT: '4s' })
  const { engine } = await node('only')
  const short = ask(gateway.url, 'openai.chat', { key: 'short', script: { tokens: 40, stall_at: 2 } })
  const long = ask(gateway.url, 'ollama.chat', { key: 'long', script: { tokens: 1_000, rate: 40 } })
  await Promise.all([short.tokens(2), long.tokens(2)])
  gateway.signal('SIGTERM')
  await until('it takes nothing new', () => fetch(`${gateway.url}/readyz`).then(({ status }) => status === 503, () => true))
  await engine.admin.release('short')
  expect(await short.told).toMatchObject({ ended: true, error: undefined, verdict: { ok: true, count: 40 } })
  expect(await long.told).toMatchObject({ ended: false, error: expect.stringContaining('shutting down'), verdict: { ok: true } })
  await until('the engine has stopped', async () => (await engine.admin.job('long')).running === 0)
  expect(await gateway.exited).toBe(0)
})
