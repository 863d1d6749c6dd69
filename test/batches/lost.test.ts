import { rename } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import OpenAI from 'openai'
import { describe, expect, vi } from 'vitest'
import type { ScriptedEngine } from '../engine/server.ts'
import { until } from '../support/drover.ts'
import { chatLine, clientOf, ended, expectAnswers, expectOnce, readLines, resultsOf, submit, uploadText } from './lines.ts'
import { KINDS } from './places.ts'
import { test, testIn } from './world.ts'

vi.setConfig({ testTimeout: 120_000 })

const ids = Array.from({ length: 60 }, (_, i) => `l${i}`)
/** So long that no gateway reads more than a part of them at once. */
const LONG = ids.map((id) => chatLine(id, { script: `tokens=5 ${'x'.repeat(20_000)}` })).join('')
/** One for each slot of an engine, which hold up all that come behind them. */
const GATE = ['l40', 'l41']
const shut = (engine: ScriptedEngine) => Promise.all(GATE.map((key) => engine.admin.set({ hold: 1 }, key)))
const open = (engine: ScriptedEngine) => Promise.all(GATE.map((key) => engine.admin.release(key)))
const answered = async (openai: OpenAI, id: string) => (await openai.batches.retrieve(id)).request_counts?.completed ?? 0
const sumOf = ({ request_counts: counts }: OpenAI.Batch) => {
  const { completed, failed, cancelled, expired } = counts as unknown as Record<string, number>
  return completed! + failed! + cancelled! + expired!
}

describe.for(KINDS)('in a %s', (kind) => {
  const test = testIn(kind)

  test.for(['is gone', 'is shorter than it was'] as const)('a batch whose input %s before it is looked at has failed, and says why', async (how, { drover, scripted, place }) => {
    const gateway = await drover.gateway(place.env)
    const engine = await scripted()
    await drover.worker('n', [engine.url], { gateway })
    const openai = clientOf(gateway.url)
    const { id } = await uploadText(openai, chatLine('a') + chatLine('b'))
    const [name = ''] = await place.contents()
    await (how === 'is gone' ? place.lose(name) : place.shorten(name))
    const made = await openai.batches.create({ input_file_id: id, endpoint: '/v1/chat/completions', completion_window: '24h' })
    const batch = await ended(() => openai, made.id)
    expect(batch).toMatchObject({ status: 'failed', errors: { data: [{ code: 'content_lost', line: null }] }, output_file_id: null, error_file_id: null })
    expect((await engine.admin.stats()).requests).toBe(0)
    if (how === 'is gone') await expect(openai.files.content(id)).rejects.toThrow(/410 the content of the file is gone/)
  })

  test('a batch whose input goes while it runs keeps what was answered, and all others are counted as failed', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway(place.env)
    const engine = await scripted({ slots: 2, script: { first_ms: 20 } })
    await shut(engine)
    await drover.worker('n', [{ url: engine.url, slots: 2 }], { gateway })
    const openai = clientOf(gateway.url)
    const { id: input } = await uploadText(openai, LONG)
    const [name = ''] = await place.contents()
    const { id } = await openai.batches.create({ input_file_id: input, endpoint: '/v1/chat/completions', completion_window: '24h' })
    await until('some are answered', async () => (await answered(openai, id)) >= 2)
    await place.lose(name)
    await open(engine)
    const batch = await ended(() => openai, id)
    const { output, errors } = await resultsOf(openai, batch)
    expect(batch).toMatchObject({ status: 'failed', errors: { data: [{ code: 'content_lost' }] }, error_file_id: null })
    expect({ total: batch.request_counts?.total, sum: sumOf(batch), completed: batch.request_counts?.completed, errors }).toEqual({ total: 60, sum: 60, completed: output.length, errors: [] })
    expect(output.length).toBeGreaterThanOrEqual(2)
    expect(output.length).toBeLessThan(60)
    expectAnswers(output, 5)
    await until('no engine works on', async () => (await engine.admin.stats()).running === 0)
  })

  test('a batch whose list of requests is gone when another gateway takes over ends with what was answered', async ({ drover, scripted, place }) => {
    const first = await drover.gateway(place.env)
    const engine = await scripted({ slots: 2, script: { first_ms: 20 } })
    await shut(engine)
    await drover.worker('n', [{ url: engine.url, slots: 2 }], { gateway: first })
    const second = await drover.gateway(place.env)
    const { id } = await submit(clientOf(first.url), ids.map((each) => chatLine(each)).join(''))
    await until('some are answered', async () => (await answered(clientOf(first.url), id)) >= 2)
    await place.lose((await place.contents()).find((name) => name.endsWith('.index')) ?? 'none')
    await first.stop()
    await open(engine)
    const openai = clientOf(second.url)
    const batch = await ended(() => openai, id)
    const { output } = await resultsOf(openai, batch)
    expect(batch).toMatchObject({ status: 'failed', errors: { data: [{ code: 'content_lost' }] } })
    expect({ sum: sumOf(batch), completed: batch.request_counts?.completed }).toEqual({ sum: 60, completed: output.length })
    expectAnswers(output, 5)
  })

  test('a batch that is cancelled when its input is gone is cancelled', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway(place.env)
    const engine = await scripted({ slots: 1 })
    await drover.worker('n', [engine.url], { gateway })
    const openai = clientOf(gateway.url)
    const { id: input } = await uploadText(openai, LONG.replaceAll('tokens=5', 'tokens=1000 rate=5'))
    const [name = ''] = await place.contents()
    const { id } = await openai.batches.create({ input_file_id: input, endpoint: '/v1/chat/completions', completion_window: '24h' })
    await until('an engine works on it', async () => (await engine.admin.stats()).running > 0)
    await place.lose(name)
    await openai.batches.cancel(id)
    const batch = await ended(() => openai, id)
    expect(batch).toMatchObject({ status: 'cancelled', errors: { data: [{ code: 'content_lost' }] }, request_counts: { total: 60, failed: 0 } })
    expect(sumOf(batch)).toBe(60)
    await until('no engine works on', async () => (await engine.admin.stats()).running === 0)
  })
})

test('a folder that is not mounted just now is waited for', async ({ drover, scripted, place }) => {
  const gateway = await drover.gateway(place.env)
  const engine = await scripted({ slots: 2, script: { first_ms: 20 } })
  await shut(engine)
  await drover.worker('n', [{ url: engine.url, slots: 2 }], { gateway })
  const openai = clientOf(gateway.url)
  const { id, input_file_id: input } = await submit(openai, LONG)
  await until('some are answered', async () => (await answered(openai, id)) >= 2)
  const folder = place.env['DROVER_FILES_DIR'] ?? ''
  await rename(folder, `${folder}-away`)
  await open(engine)
  await until('it is told', () => gateway.log().includes('the store of files cannot be used'))
  await expect(openai.files.content(input)).rejects.toThrow(/503 server busy/)
  await expect(uploadText(openai, 'x')).rejects.toThrow(/503 server busy/)
  expect((await openai.batches.retrieve(id)).status).toBe('in_progress')
  await rename(`${folder}-away`, folder)
  const batch = await ended(() => openai, id)
  expect(batch.status).toBe('completed')
  expectOnce(batch, await resultsOf(openai, batch), ids)
  await sleep(5_000) // so long without a failure it counts as well
  expect((await (await openai.files.content(input)).text()).length).toBe(LONG.length)
  await until('it is told', () => gateway.log().includes('the store of files can be used again'))
  expect(gateway.log().split('the store of files cannot be used').length).toBe(2)
})

test('a batch whose store nobody has any more is ended a day after its window, by whichever gateway there is', async ({ drover, scripted, place, redis }) => {
  const first = await drover.gateway(place.env)
  const engine = await scripted({ slots: 2, script: { first_ms: 20 } })
  await shut(engine)
  await drover.worker('n', [{ url: engine.url, slots: 2 }], { gateway: first })
  const { id } = await submit(clientOf(first.url), ids.map((each) => chatLine(each)).join(''))
  await until('some are answered', async () => (await answered(clientOf(first.url), id)) >= 2)
  await first.stop()
  const second = await drover.gateway(place.apart)
  const openai = clientOf(second.url)
  await sleep(2_500) // it looks once a second
  expect((await openai.batches.retrieve(id)).status).toBe('in_progress')
  const direct = new Redis(redis.connection)
  await direct.hincrby(`${drover.prefix}:batch:${id}`, 'dl', -49 * 60 * 60 * 1000)
  direct.disconnect()
  const batch = await ended(() => openai, id)
  expect(batch).toMatchObject({ status: 'failed', errors: { data: [{ code: 'content_lost', message: expect.stringContaining('no gateway has had its store') }] } })
  expect({ total: batch.request_counts?.total, sum: sumOf(batch) }).toEqual({ total: 60, sum: 60 })
  await expect(openai.files.content(batch.output_file_id ?? '')).rejects.toThrow(/409 the file lies in a folder or bucket/)
  // Should the folder come back, so do the answers.
  const third = await drover.gateway(place.env)
  const output = readLines(await (await clientOf(third.url).files.content(batch.output_file_id ?? '')).text())
  expect(output.length).toBe(batch.request_counts?.completed)
  expectAnswers(output, 5)
})
