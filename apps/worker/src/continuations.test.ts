import { BrokerError, type EngineKind, type HeldModel, type LoadedModel, type ModelName } from '@drover/core'
import type { Engine, EngineView } from '@drover/engines'
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { continuations } from './continuations.ts'

const held = (name: string, digest = name): HeldModel => ({ model: `${name}:latest` as ModelName, engineName: name, digest, size: 1, modifiedAt: '' })
const loaded = (name: string, seconds?: number): LoadedModel => ({
  model: `${name}:latest` as ModelName, size: 1, sizeVram: 0, contextLength: 512,
  ...(seconds !== undefined && { expiresAt: new Date(Date.now() + seconds * 1000).toISOString() }),
})
const signal = new AbortController().signal

beforeEach(() => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
})

const renders = (_model: string): { status: number; json: unknown } => ({ status: 200, json: { prompt: 'user: ' } })

/** A node with one engine; `view` is what the last look saw, `now` what another one would see. */
const set = (view: Partial<EngineView>, now: Partial<EngineView> = view, kind: EngineKind = 'llama-server') => {
  const seat = { view: { version: '1', held: [held('a')], loaded: [], slotsPerModel: 1, maxLoaded: 1, ...view } }
  const asked: string[] = []
  const failures: string[] = []
  let found = 0
  let answer = renders
  const engine = {
    id: 'e', kind,
    look: async () => ({ ...seat.view, ...now }),
    ask: async ({ body }: { body: string }) => {
      const { model } = JSON.parse(body) as { model: string }
      asked.push(model)
      return answer(model)
    },
  } as unknown as Engine
  let there = true
  const slots = { seats: () => (there ? [{ engine, view: seat.view, busy: new Map<ModelName, number>() }] : [])[Symbol.iterator]() }
  const all = continuations({ slots, onFound: () => (found += 1), onFailure: (_engine, { digest }) => void failures.push(digest) })
  onTestFinished(() => all.stop())
  return {
    all, engine, asked, failures,
    see: (next: Partial<EngineView>) => void (seat.view = { ...seat.view, ...next }),
    leave: (away: boolean) => void (there = !away),
    answers: (next: typeof answer) => void (answer = next),
    found: () => found,
    after: (ms: number) => vi.advanceTimersByTimeAsync(ms),
  }
}

test('a model is asked for once it is in memory, and not again while it is held', async () => {
  const { all, engine, asked, found, see, after } = set({ held: [held('a'), held('b')] }, { loaded: [loaded('a'), loaded('b')] })
  await after(3_000)
  expect(asked).toEqual([])
  expect(all.continues(engine, held('a'))).toBeUndefined()
  see({ loaded: [loaded('a')] })
  await after(3_000)
  expect(asked).toEqual(['a', 'a'])
  expect(all.continues(engine, held('a'))).toBe('rendered')
  expect(all.continues(engine, held('b'))).toBeUndefined()
  expect(found()).toBe(1)
  see({ loaded: [] })
  await after(3_000)
  see({ loaded: [loaded('a'), loaded('b', 300)] })
  await after(3_000)
  expect(asked).toEqual(['a', 'a', 'b', 'b'])
})

test('a model that is leaving memory, or has left it since, is not asked for', async () => {
  const leaving = set({ loaded: [loaded('a', 2)] })
  const left = set({ loaded: [loaded('a')] }, { loaded: [] })
  await vi.advanceTimersByTimeAsync(5_000)
  expect(leaving.asked).toEqual([])
  expect(left.asked).toEqual([])
  expect(left.failures).toEqual([])
})

test('an Ollama that does not tell the context of a model is not asked: it would load the model anew', async () => {
  const { contextLength: _unknown, ...silent } = loaded('a')
  const older = set({ loaded: [silent] }, undefined, 'ollama')
  const newer = set({ loaded: [loaded('a')] }, undefined, 'ollama')
  await vi.advanceTimersByTimeAsync(3_000)
  expect(older.asked).toEqual([])
  expect(newer.asked).toEqual(['a'])
})

test('new weights, another version and an engine that was away are asked anew', async () => {
  const { all, engine, asked, see, leave, after } = set({ loaded: [loaded('a')] })
  await after(2_000)
  see({ version: '2' })
  expect(all.continues(engine, held('a'))).toBeUndefined()
  await after(2_000)
  expect(asked).toHaveLength(4)
  see({ held: [held('a', 'other')] })
  await after(2_000)
  expect(asked).toHaveLength(6)
  expect(all.continues(engine, held('a', 'other'))).toBe('rendered')
  leave(true)
  await after(2_000)
  leave(false)
  await after(2_000)
  expect(asked).toHaveLength(8)
})

test('an engine that cannot say it is asked later, ever more seldom, and complained of once', async () => {
  const { all, engine, asked, failures, answers, after } = set({ loaded: [loaded('a')] })
  answers(() => {
    throw new BrokerError('engine_failed', 'away')
  })
  await after(10_000)
  expect(asked).toHaveLength(1)
  await after(3_600_000)
  // 15 s, doubled to 15 minutes: 10 times in an hour, not 240.
  expect(asked.length).toBeGreaterThan(5)
  expect(asked.length).toBeLessThan(12)
  expect(failures).toEqual(['a'])
  answers(renders)
  await after(16 * 60_000)
  expect(all.continues(engine, held('a'))).toBe('rendered')
})

test('who must know now asks at once, and the answer is kept', async () => {
  const { all, engine, asked, answers } = set({})
  answers(() => ({ status: 404, json: {} }))
  expect(await all.probe(engine, held('a'), signal)).toBe('none')
  expect(await all.probe(engine, held('a'), signal)).toBe('none')
  expect(asked).toEqual(['a'])
  expect(all.continues(engine, held('a'))).toBe('none')
})
