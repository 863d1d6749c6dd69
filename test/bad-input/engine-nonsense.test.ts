import { expect } from 'vitest'
import type { Script } from '../engine/script.ts'
import { ask, type Told } from '../support/client.ts'
import { statusOf, until } from '../support/drover.ts'
import { BOTH_WAYS, test as world } from '../support/world.ts'

const KINDS = ['ollama', 'llama-server'] as const

interface Fault {
  name: string
  /** Met by every attempt of a job, or by the first only. */
  script: Script
  /**
   * What the client of a stream is told: an error instead of an answer, an error in the middle of it, one of both without a word
   * of text (llama-server says who speaks before it says anything), or the answer. One that wants a whole answer is never told a part.
   */
  streamed: 'refused' | 'cut' | 'unheard' | 'right'
  whole: 'refused' | 'right'
}

const FAULTS: Fault[] = [
  { name: 'a web page', script: { nonsense: 'html' }, streamed: 'refused', whole: 'refused' },
  { name: 'plain text', script: { nonsense: 'text' }, streamed: 'refused', whole: 'refused' },
  { name: 'nothing at all', script: { nonsense: 'empty' }, streamed: 'refused', whole: 'refused' },
  { name: 'a JSON text that is none of its events', script: { nonsense: '42' }, streamed: 'refused', whole: 'refused' },
  { name: 'nothing but a closed connection', script: { drop: 1 }, streamed: 'refused', whole: 'refused' },
  { name: 'status 500', script: { fail: 500 }, streamed: 'refused', whole: 'refused' },
  { name: 'status 500 once', script: { fail: 500, times: 1 }, streamed: 'right', whole: 'right' },
  { name: 'status 503 once', script: { fail: 503, times: 1 }, streamed: 'right', whole: 'right' },
  { name: 'a closed connection once', script: { drop: 1, times: 1 }, streamed: 'right', whole: 'right' },
  { name: 'a web page once', script: { nonsense: 'html', times: 1 }, streamed: 'right', whole: 'right' },
  { name: 'a garbled line', script: { garbage_at: 7 }, streamed: 'cut', whole: 'refused' },
  { name: 'a character in two pieces', script: { split_at: 7 }, streamed: 'right', whole: 'right' },
  { name: 'a byte that is not UTF-8', script: { bad_byte_at: 7 }, streamed: 'cut', whole: 'refused' },
  { name: 'an end without its end event', script: { eof_at: 7 }, streamed: 'cut', whole: 'refused' },
  { name: 'an error in the middle', script: { error_at: 7 }, streamed: 'cut', whole: 'refused' },
  { name: 'a connection cut in the middle', script: { cut_at: 7 }, streamed: 'cut', whole: 'refused' },
  { name: 'a connection cut in the middle once', script: { cut_at: 7, times: 1 }, streamed: 'cut', whole: 'right' },
  { name: 'an end before its first event', script: { eof_at: 0 }, streamed: 'unheard', whole: 'refused' },
]

const CASES = FAULTS.map((fault, i) => ({
  ...fault,
  jobs: KINDS.flatMap((kind) =>
    BOTH_WAYS.map((way, j) => {
      // An engine that has failed leaves its model alone for a while: jobs that fail each time do not wait for each other.
      const apart = kind === 'ollama' || fault.whole === 'refused'
      return { ...way, kind, model: apart ? `${kind}-${i}-${j}` : `${kind}-${i}`, key: `${kind}-${i}-${j}` }
    }),
  ),
}))

const modelsOf = (kind: string) => [...new Set(CASES.flatMap(({ jobs }) => jobs.filter((job) => job.kind === kind).map(({ model }) => model)))]

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const ollama = await engines({ slots: 20, maxLoaded: 1_000, models: [...modelsOf('ollama'), 'good'] })
  const narrow = await engines({ models: ['narrow'] })
  const servers = await Promise.all(modelsOf('llama-server').map(async (model) => [model, await engines({ kind: 'llama-server', slots: 6, models: [model] })] as const))
  const gateway = await house.gateway()
  await house.worker('n1', [{ url: ollama.url, slots: 20, maxLoaded: 1_000 }, narrow.url, ...servers.map(([, { url }]) => url)], { gateway })
  const byModel = new Map([...servers, ['narrow', narrow]])
  return { url: gateway.url, engineOf: (model: string) => byModel.get(model) ?? ollama }
})

const check = (told: Told, expected: Fault['streamed']) => {
  switch (expected) {
    case 'right':
      return expect(told).toMatchObject({ status: 200, ended: true, error: undefined, verdict: { ok: true, count: 20 } })
    case 'refused':
      // A real status, an error of the dialect, and not a word of an answer.
      expect(told.status).toBeGreaterThanOrEqual(500)
      expect(told.headers['content-type']).toMatch(/^application\/json/)
      return expect(told).toMatchObject({ ended: false, text: '', error: expect.stringMatching(/\w/) as string })
    case 'cut':
      // What was read is the beginning of the answer; then the error, and never an end.
      expect(told).toMatchObject({ status: 200, ended: false, error: expect.stringMatching(/\w/) as string })
      expect(told.verdict).toSatisfy((verdict: Told['verdict']) => verdict.ok && verdict.count >= 5 && verdict.count <= 7)
      return
    case 'unheard':
      return expect(told).toMatchObject({ ended: false, text: '', error: expect.stringMatching(/\w/) as string })
    default:
      return expected satisfies never
  }
}

test.concurrent.for(CASES)('an engine answers with $name: every client hears the truth, and others hear nothing of it', async ({ jobs, script, streamed, whole }, { site }) => {
  const goodKey = `good-${jobs[0]!.key}`
  const good = ask(site.url, 'ollama.chat', { key: goodKey, model: 'good', script: { tokens: 40, rate: 100 } })
  await good.tokens(2)
  await Promise.all(
    jobs.map(async ({ dialect, stream, kind, model, key }) => {
      const engine = site.engineOf(model)
      const expected = stream ? streamed : whole
      // The engine goes on to the fault when what stands before it has been read.
      await engine.admin.set({ tokens: 20, ...script, ...(expected === 'cut' && { stall_at: 5 }) }, key)
        // An answer that has begun would be taken up by another attempt; one body, from its last check-point.
      const asking = ask(site.url, dialect, { key, model, stream, headers: { 'x-drover-resume': 'never' } })
      if (expected === 'cut') {
        await asking.tokens(5)
        await engine.admin.release(key)
      }
      const told = await asking.told
      const once = script.times === 1 && !(stream && streamed === 'cut')
      const tries = { right: once ? '2' : '1', refused: '3', cut: '1', unheard: told.headers['x-drover-attempts'] }[expected]
      check(told, expected)
      expect([kind, dialect, stream, told.headers['x-drover-attempts']]).toEqual([kind, dialect, stream, tries])
      await until('the engine has stopped', async () => (await engine.admin.job(key)).running === 0)
      expect((await engine.admin.job(key)).requests).toBe(Number(told.headers['x-drover-attempts']))
    }),
  )
  expect(await good.told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 40 }, headers: { 'x-drover-attempts': '1' } })
})

test('an engine that is well again is used again', async ({ site }) => {
  const { admin } = site.engineOf('good')
  await admin.set({ fail: 500 }, 'ill')
  expect(await ask(site.url, 'openai.chat', { key: 'ill', model: 'good' }).told).toMatchObject({ status: 500, ended: false })
  await admin.set(undefined, 'ill')
  expect(await ask(site.url, 'openai.chat', { key: 'ill', model: 'good', script: { tokens: 3 } }).told).toMatchObject({ ended: true, verdict: { ok: true, count: 3 } })
})

test('requests that an engine fails at every time do not hold up the others for the same model', async ({ site }) => {
  const { admin } = site.engineOf('narrow')
  // One slot only: all of them stand in one line.
  const running = ask(site.url, 'ollama.chat', { key: 'line', model: 'narrow', script: { tokens: 20, stall_at: 5 } })
  await running.tokens(5)
  const failing = Array.from({ length: 5 }, (_, i) => ask(site.url, 'openai.chat', { key: `poison${i}`, model: 'narrow', script: { fail: 500 } }))
  await until('they wait', async () => (await statusOf(site.url)).lanes.some(({ model, waiting }) => model === 'narrow:latest' && waiting === 5))
  const good = ask(site.url, 'openai.chat', { key: 'behind', model: 'narrow', script: { tokens: 3 } })
  await admin.release('line')
  expect(await running.told).toMatchObject({ ended: true })
  const since = performance.now()
  expect(await good.told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 3 } })
  // Each holds the engine for a moment, and the engine leaves the lane for 0.5, 1, 2 and 2 s.
  expect(performance.now() - since).toBeLessThan(9_000)
  for (const { told } of failing) expect(await told).toMatchObject({ status: 500, ended: false, headers: { 'x-drover-attempts': '3' } })
})
