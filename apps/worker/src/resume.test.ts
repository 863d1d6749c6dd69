import type { Lease } from '@drover/broker'
import type { Frame } from '@drover/core'
import type { ExchangeRequest } from '@drover/dialects'
import { expect, onTestFinished, test } from 'vitest'
import { takeUp } from './resume.ts'
import type { Slot } from './slots.ts'
import { watchdog } from './watchdog.ts'

const REQUEST: ExchangeRequest = {
  dialect: 'ollama.chat', body: { model: 'm', messages: [{ role: 'user', content: 'hello' }] }, stream: true, asked: 'm',
  engine: { kind: 'ollama', speaks: ['ollama.chat', 'ollama.generate'], model: 'm' }, policy: {}, id: '0-abcdefghijklmnopqrstuv', createdAt: 0,
}
const SAID = `${JSON.stringify({ model: 'm', created_at: '', message: { role: 'assistant', content: 'one' }, done: false })}\n`

const ask = async (_call: unknown, signal: AbortSignal) => {
  signal.throwIfAborted()
  return new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
}

/** An engine that is asked for a prompt and never answers. */
const silent = (frames: Frame[], lease = new AbortController()) => {
  const watch = watchdog({ first: 50, load: 0, gap: 50 }, 10)
  onTestFinished(() => watch.close())
  const slot = { engine: { id: 'e', kind: 'ollama', ask }, held: { model: 'm', engineName: 'm', digest: 'd' }, loaded: true } as unknown as Slot
  const held = { next: frames.length + 1, job: { stream: true }, signal: lease.signal, failure: undefined, history: () => Promise.resolve(frames) } as unknown as Lease
  return takeUp(held, slot, REQUEST, { watchdog: watch, policy: {}, resume: true, partials: { probe: () => Promise.resolve('rendered') } })
}
const begun: Frame[] = [{ head: { status: 200, contentType: '', node: 'n', digest: 'd' }, text: SAID }]

test('an engine that hangs when it is asked for its prompt is given up like one that hangs in its answer', async () => {
  await expect(silent(begun)).rejects.toMatchObject({ code: 'engine_stalled' })
})

test('who no longer holds the job does not wait for the answer', async () => {
  const lease = new AbortController()
  const taking = silent(begun, lease)
  lease.abort({ kind: 'lost', why: 'lock' })
  await expect(taking).rejects.toEqual({ kind: 'lost', why: 'lock' })
})

test('what nobody has read is begun anew, and the engine is asked nothing', async () => {
  expect(await silent([])).toEqual({ kind: 'afresh', again: false })
  expect(await silent([{ head: { status: 200, contentType: '', node: 'n' } }])).toEqual({ kind: 'afresh', again: true })
})
