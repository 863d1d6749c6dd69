import { supervisedLlama, type SupervisedEvent } from '@drover/engines'
import { expect, onTestFinished } from 'vitest'
import { llamaServerPath, skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { test as world } from '../support/world.ts'
import { copySmall, modelsFolder } from './site.ts'

const test = world.extend('folder', ({ settings: _settings }, { onCleanup }) => modelsFolder(onCleanup))
const never = new AbortController().signal

/** Two models of the worker’s own, and what becomes of them. */
const open = async (folder: string, keepAliveMs = 60_000) => {
  await Promise.all([copySmall(folder, 'one.gguf'), copySmall(folder, 'two.gguf')])
  const events: SupervisedEvent[] = []
  const env = { PATH: process.env['PATH'] ?? '', LLAMA_ARG_THREADS: '1' }
  const engine = supervisedLlama({
    folder, program: llamaServerPath() ?? '', slots: 1, ctx: 256, startMs: 60_000, env, memory: { most: 200_000_000, now: () => 200_000_000, use: () => {} }, keepAliveMs, turnMs: 60_000, onEvent: (event) => void events.push(event),
  })
  onTestFinished(() => engine.close())
  await engine.look(never)
  const question = (model: string, signal = never) =>
    engine.ask({ model, path: '/apply-template', body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] }) }, signal)
  return { engine, events, question }
}

test.skipIf(skipsWithoutLlamaServer())('a question brings its model into memory, counts as a use of it, and is over with it', async ({ folder }) => {
  const { engine, events, question } = await open(folder, 300)
  expect(await question('one:latest')).toMatchObject({ status: 200, json: { prompt: expect.stringContaining('Hello') as string } })
  const [started, ...more] = events
  expect(started).toMatchObject({ kind: 'started', model: 'one:latest' })
  expect(more).toEqual([])
  expect((await engine.look(never)).loaded).toMatchObject([{ model: 'one:latest', expiresAt: expect.any(String) as string }])
  await expect.poll(() => events.at(-1), { timeout: 5_000 }).toEqual({ kind: 'stopped', model: 'one:latest', why: 'idle' })
  await expect(question('three:latest')).rejects.toMatchObject({ code: 'engine_failed', message: 'three:latest is no longer among the model files' })
})

test.skipIf(skipsWithoutLlamaServer())('who asks may leave while the model is loaded, and hears why its process died', async ({ folder }) => {
  const { events, question } = await open(folder)
  const leaving = new AbortController()
  const asked = question('one:latest', leaving.signal)
  leaving.abort(new Error('left'))
  await expect(asked).rejects.toThrow('left')
  await question('one:latest')
  const [started] = events
  if (started?.kind !== 'started') throw new Error('it was not started')
  process.kill(started.pid, 'SIGSTOP')
  const hung = question('one:latest')
  hung.catch(() => {})
  process.kill(started.pid, 'SIGKILL')
  await expect(hung).rejects.toMatchObject({ code: 'engine_failed', message: expect.stringContaining('ended by itself (SIGKILL)') as string })
  expect((await question('one:latest')).status).toBe(200)
})
