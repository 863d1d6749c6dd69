import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { bodyOf, DIALECTS, type DialectName } from '../campaign/formats.ts'
import type { ScriptedEngineOptions } from '../engine/options.ts'
import { spawnScriptedEngine, type ScriptedEngineProcess } from '../engine/spawn.ts'
import { expectedText, token } from '../engine/tokens.ts'
import { Installation, statusOf, until, type Part } from '../support/drover.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { reading, type Read } from './reading.ts'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

interface Node {
  engine: ScriptedEngineProcess
  worker: Part
}

/** A gateway, and nodes with the same model: the first runs what is asked before the others start. */
const site = async (kind: 'ollama' | 'llama-server', model: Partial<Exclude<NonNullable<ScriptedEngineOptions['models']>[number], string>> = {}) => {
  const installation = new Installation(redis.url)
  const engines: ScriptedEngineProcess[] = []
  onTestFinished(async () => {
    await installation.stop()
    await Promise.all(engines.map((engine) => engine.close()))
  })
  const gateway = await installation.gateway()
  const node = async (name: string, more: Partial<typeof model> = {}): Promise<Node> => {
    const engine = await spawnScriptedEngine({ kind, slots: 16, models: [{ name: 'scripted:latest', ...model, ...more }] })
    engines.push(engine)
    return { engine, worker: await installation.worker(name, [{ url: engine.url, slots: 16, kind }], { gateway }) }
  }
  /** Whether Redis has this text of a job's log. */
  const saved = async (text: string): Promise<boolean> => {
    const direct = new Redis(redis.connection)
    try {
      const logs = await Promise.all((await direct.keys(`${installation.prefix}:job:*:log`)).map((key) => direct.xrange(key, '-', '+')))
      return JSON.stringify(logs).includes(text)
    } finally {
      direct.disconnect()
    }
  }
  return { gateway, node, saved }
}

const TOKENS = 60
/** Where the first engine goes quiet. */
const STALL = 12
const ask = (url: string, dialect: DialectName, key: string, sampling: 'zero' | 'free' = 'free', headers: Record<string, string> = {}) =>
  reading(url, dialect, bodyOf(dialect, { model: 'scripted', prompt: `job=${key} tokens=${TOKENS} rate=200`, stream: true, sampling, limit: TOKENS - 4 }), headers)

const only = (values: unknown[]) => [...new Set(values.filter((value) => value !== undefined).map((value) => JSON.stringify(value)))]

/** Everything by which a client could notice that two wrote its answer. */
const identities = ({ events }: Read, dialect: DialectName) => {
  switch (dialect) {
    case 'openai.chat':
    case 'openai.completions':
      expect(only(events.map(({ id, created, model, object }) => [id, created, model, object]))).toHaveLength(1)
      if (dialect === 'openai.chat')
        expect(events.filter(({ choices }) => (choices as { delta?: { role?: string } }[])[0]?.delta?.role !== undefined)).toHaveLength(1)
      return
    case 'openai.responses':
      expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, i) => i))
      expect(only(events.flatMap(({ response }) => (response as { id?: string; created_at?: number } | undefined) ?? []).map(({ id, created_at: at }) => [id, at]))).toHaveLength(1)
      return
    case 'anthropic.messages':
      expect(events.map(({ type }) => type).filter((type) => type !== 'content_block_delta' && type !== 'ping')).toEqual([
        'message_start', 'content_block_start', 'content_block_stop', 'message_delta', 'message_stop',
      ])
      return
    default:
      expect(only(events.map(({ model }) => model))).toHaveLength(1)
      expect(events.filter(({ done }) => done)).toHaveLength(1)
  }
}

const usageOf = ({ events }: Read, dialect: DialectName): number | undefined => {
  const last = events.at(-1) as Record<string, Record<string, Record<string, number>>> & { eval_count?: number }
  switch (dialect) {
    case 'ollama.chat':
    case 'ollama.generate':
      return last.eval_count
    case 'openai.responses':
      return last['response']?.['usage']?.['output_tokens']
    case 'anthropic.messages':
      return (events.at(-2) as { usage?: { output_tokens: number } }).usage?.output_tokens
    default:
      return undefined
  }
}

/** In turn: prefilled, and past the template. */
const WAYS = [['ollama', true], ['ollama', false], ['llama-server', true], ['llama-server', false]] as const

for (const [kind, continues] of WAYS)
  test(`${kind}, ${continues ? 'prefill' : 'rendered prompt'}: every dialect's half answer goes on where it was when the worker dies`, async () => {
    const { gateway, node } = await site(kind, { continues })
    const first = await node('first')
    await first.engine.admin.set({ stall_at: STALL })
    const streams = DIALECTS.map((dialect) => ({ dialect, key: `${dialect.replace('.', '-')}`, asking: ask(gateway.url, dialect, dialect.replace('.', '-')) }))
    await Promise.all(streams.map(({ key, asking }) => asking.chars(expectedText(key, STALL).length)))
    const second = await node('second')
    first.worker.signal('SIGKILL')
    for (const { dialect, key, asking } of streams) {
      const read = await asking.told
      expect({ dialect, error: read.error, ended: read.ended, text: read.text }).toEqual({ dialect, error: undefined, ended: true, text: expectedText(key, TOKENS - 4) })
      identities(read, dialect)
      const usage = usageOf(read, dialect)
      if (usage !== undefined) expect({ dialect, usage }).toEqual({ dialect, usage: TOKENS - 4 })
      const { runs } = await second.engine.admin.job(key)
      expect(runs).toHaveLength(1)
      // Only what was missing was made.
      expect(runs[0]).toMatchObject({ end: 'completed', from: STALL, tokens: TOKENS - 4 - STALL })
    }
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text()
    expect(metrics).toMatch(new RegExp(`resumed_total\\{[^}]*rung="continue"[^}]*\\} ${DIALECTS.length}`))
    await until('no slot is busy', async () => (await statusOf(gateway.url)).nodes.every(({ engines }) => engines.every(({ models }) => models.every(({ busy }) => busy === 0))), 10_000)
  })

/** Two nodes from the start, and what the first does is told by `script`. */
const pair = async (script: Parameters<ScriptedEngineProcess['admin']['set']>[0], model: Parameters<typeof site>[1] = {}) => {
  const { gateway, node, saved } = await site('ollama', model)
  const first = await node('first')
  await first.engine.admin.set(script)
  return { gateway, first, node, saved }
}

const told = (read: Read) => ({ status: read.status, error: read.error, ended: read.ended, text: read.text })
const whole = (key: string) => ({ status: 200, error: undefined, ended: true, text: expectedText(key, TOKENS - 4) })

test('what was read of a deterministic answer that cannot be continued is made again, compared, and the rest is sent', async () => {
  const { gateway, first, node } = await pair({ stall_at: STALL })
  const body = (key: string, more: object) =>
    JSON.stringify({ ...(JSON.parse(bodyOf('ollama.chat', { model: 'scripted', prompt: `job=${key} tokens=${TOKENS} rate=200`, stream: true, sampling: 'zero', limit: TOKENS - 4 })) as object), ...more })
  const schema = reading(gateway.url, 'ollama.chat', body('schema', { format: 'json' }))
  const drawn = reading(gateway.url, 'ollama.chat', body('drawn', { format: 'json', options: { temperature: 1 } }))
  const never = reading(gateway.url, 'ollama.chat', body('never', {}), { 'x-drover-resume': 'never' })
  await Promise.all([schema.chars(expectedText('schema', STALL).length), drawn.chars(expectedText('drawn', STALL).length), never.chars(expectedText('never', STALL).length)])
  const second = await node('second')
  first.worker.signal('SIGKILL')
  expect(told(await schema.told)).toEqual(whole('schema'))
  expect((await second.engine.admin.job('schema')).runs).toMatchObject([{ from: 0, tokens: TOKENS - 4 }])
  for (const [key, reading] of [['drawn', drawn], ['never', never]] as const)
    expect(told(await reading.told)).toEqual({ status: 200, error: expect.stringContaining('the node that was answering has gone'), ended: false, text: expectedText(key, STALL) })
  for (const key of ['drawn', 'never']) expect((await second.engine.admin.job(key)).requests, 'it does not begin what it cannot end').toBe(0)
})

test('a node that has another model under the same name does not go on with its text', async () => {
  const { gateway, first, node } = await pair({ stall_at: STALL })
  const asking = ask(gateway.url, 'ollama.chat', 'other', 'zero')
  await asking.chars(expectedText('other', STALL).length)
  await node('second', { digest: 'ab'.repeat(32) })
  first.worker.signal('SIGKILL')
  expect(told(await asking.told)).toMatchObject({ ended: false, error: expect.stringContaining('same model'), text: expectedText('other', STALL) })
})

test('whatever an engine does in mid-answer, it goes on from another one, and the client does not notice', async () => {
  const { gateway, first, node } = await pair(undefined)
  const second = await node('second')
  const faults = { die: { die_at: STALL }, cut: { cut_at: STALL }, eof: { eof_at: STALL }, error: { error_at: STALL }, garbage: { garbage_at: STALL } }
  for (const [name, script] of Object.entries(faults)) {
    if (name === 'die') continue
    for (const { engine } of [first, second]) await engine.admin.set({ ...script, times: 1 }, name)
    const read = await ask(gateway.url, 'openai.chat', name).told
    expect({ name, ...told(read) }).toEqual({ name, ...whole(name) })
  }
  // Last, for it does not come back.
  await first.engine.admin.set(faults.die, 'die')
  await second.engine.admin.set(faults.die, 'die')
  const dying = ask(gateway.url, 'anthropic.messages', 'die')
  const read = await dying.told
  expect(told(read)).toEqual(whole('die'))
})

test('an answer that is one body goes on from its last check-point, in silence', async () => {
  const { gateway, first, node, saved } = await pair({ stall_at: STALL })
  const asked = fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    body: bodyOf('openai.chat', { model: 'scripted', prompt: `job=body tokens=${TOKENS} rate=200`, stream: false, sampling: 'free', limit: TOKENS - 4 }),
  })
  await until('what its engine has said is saved', () => saved(token('body', STALL - 1)))
  const second = await node('second')
  first.worker.signal('SIGKILL')
  const answer = await asked
  const body = (await answer.json()) as { choices: { message: { content: string } }[]; usage: { completion_tokens: number } }
  expect(body.choices[0]?.message.content).toBe(expectedText('body', TOKENS - 4))
  expect(body.usage.completion_tokens).toBe(TOKENS - 4)
  expect(answer.headers.get('x-drover-resumed')).toBe('continue')
  expect((await second.engine.admin.job('body')).runs).toMatchObject([{ from: STALL, tokens: TOKENS - 4 - STALL }])
})
