import { expect } from 'vitest'
import type { ScriptedEngine } from '../engine/server.ts'
import { expectedText } from '../engine/tokens.ts'
import { test as base } from '../support/world.ts'
import { command, done, onTerminal, skipsWithoutTerminal } from './commands-setup.ts'

const test = base
  .extend('engine', { scope: 'file' }, ({ engines }) => engines({ models: ['tiny:latest'], slots: 4 }))
  .extend('env', { scope: 'file' }, async ({ house, engine }) => {
    // A broken answer would go on, and nobody would see how it breaks.
    const gateway = await house.gateway({ DROVER_RESUME: 'false' })
    await house.worker('here', [{ url: engine.url, slots: 4 }], { gateway })
    return { DROVER_URL: gateway.url }
  })

/** The last request of a job, as the engine got it. */
const askedOf = async ({ admin }: ScriptedEngine, key: string) => {
  const { last } = await admin.stats()
  return JSON.parse(last.findLast((request) => request.key === key)?.body ?? '{}') as { messages: { role: string; content: string }[]; options?: unknown }
}

test('run streams the answer to standard output, and nothing else goes there', async ({ env, engine }) => {
  const running = command(['run', 'tiny', 'Tell', 'me:', 'job=streamed tokens=9 stall_at=4'], { env })
  await expect.poll(() => running.output(), { timeout: 15_000 }).toBe(expectedText('streamed', 4))
  await engine.admin.release('streamed')
  expect(await running.exited).toBe(0)
  expect(running.output()).toBe(`${expectedText('streamed', 9)}\n`)
  expect(running.errors()).toBe('')
})

test('what is piped in is asked, behind the prompt where there is one', async ({ env, engine }) => {
  expect(await done(['run', 'tiny'], { env, input: 'job=piped tokens=3\n' })).toEqual({ code: 0, output: `${expectedText('piped', 3)}\n`, errors: '' })
  // The last marker counts.
  const both = await done(['run', '--system', 'Be brief.', 'tiny', '--option', 'temperature=0', '--', 'job=behind tokens=9'], { env, input: 'job=both tokens=2' })
  expect(both).toEqual({ code: 0, output: `${expectedText('both', 2)}\n`, errors: '' })
  expect(await askedOf(engine, 'both')).toMatchObject({
    messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'job=behind tokens=9\njob=both tokens=2' }],
    options: { temperature: 0 },
  })
})

test('--verbose tells figures, node and attempts on standard error', async ({ env }) => {
  const { code, output, errors } = await done(['run', 'tiny', '--verbose', 'job=told tokens=3'], { env })
  expect({ code, output }).toEqual({ code: 0, output: `${expectedText('told', 3)}\n` })
  expect(errors).toMatch(/^eval count: +3 tokens$/m)
  expect(errors).toMatch(/^node: +here$/m)
  expect(errors).toMatch(/^attempts: +1$/m)
})

test('--json prints the events as they came', async ({ env }) => {
  const { code, output } = await done(['run', 'tiny', '--json', 'job=events tokens=3'], { env })
  expect(code).toBe(0)
  const events = output.trimEnd().split('\n').map((line) => JSON.parse(line) as { message: { content: string }; done: boolean })
  expect(events.map(({ message }) => message.content).join('')).toBe(expectedText('events', 3))
  expect(events.map(({ done }) => done).lastIndexOf(true)).toBe(events.length - 1)
})

test('an error in the middle leaves the text so far, and says so on standard error with exit code 1', async ({ env }) => {
  const { code, output, errors } = await done(['run', 'tiny', 'job=broken tokens=9 rate=20 error_at=4'], { env })
  expect(code).toBe(1)
  expect(output).toBe(`${expectedText('broken', 4)}\n`)
  expect(errors).toMatch(/^the answer ended with an error: .+\n$/)
})

test('Ctrl-C stops the engine and ends with 130', async ({ env, engine }) => {
  const running = command(['run', 'tiny', 'job=stopped tokens=1000 rate=20'], { env })
  await expect.poll(() => running.output(), { timeout: 15_000 }).toContain(expectedText('stopped', 3))
  running.signal('SIGINT')
  expect(await running.exited).toBe(130)
  expect(running.errors()).toBe('')
  await expect.poll(async () => (await engine.admin.job('stopped')).aborts, { timeout: 5_000 }).toBe(1)
})

test.skipIf(skipsWithoutTerminal())('a conversation keeps its history, Ctrl-C stops the answer under way and stays, /clear forgets', async ({ env, engine }) => {
  const chat = onTerminal(['run', 'tiny'], { env })
  const shows = (text: string) => expect.poll(() => chat.output(), { timeout: 15_000 }).toContain(text)
  await shows('>>> ')
  chat.type('job=one tokens=2\r')
  await shows(`${expectedText('one', 2)}\r\n`)

  chat.type('job=two tokens=1000 rate=20\r')
  await shows(expectedText('two', 3))
  chat.type('\u0003')
  await expect.poll(async () => (await engine.admin.job('two')).aborts, { timeout: 5_000 }).toBe(1)

  chat.type('"""first line\rjob=three tokens=2"""\r')
  await shows(expectedText('three', 2))
  const { messages } = await askedOf(engine, 'three')
  expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user'])
  expect(messages[1]?.content).toBe(expectedText('one', 2))
  expect(messages[3]?.content.startsWith(expectedText('two', 3))).toBe(true)
  expect(messages[4]?.content).toBe('first line\njob=three tokens=2')

  chat.type('/clear\r')
  await shows('forgotten')
  chat.type('job=four tokens=2\r')
  await shows(`${expectedText('four', 2)}\r\n`)
  expect((await askedOf(engine, 'four')).messages).toEqual([{ role: 'user', content: 'job=four tokens=2' }])

  chat.type('job=five tokens=9 rate=20 error_at=3\r')
  await shows('the answer ended with an error')
  chat.type('/bye\r')
  expect(await chat.exited).toBe(0)
})

test.skipIf(skipsWithoutTerminal())('a conversation ends by Ctrl-D, by Ctrl-C at an empty prompt, and does not begin without the model', async ({ env }) => {
  for (const key of ['\u0004', '\u0003']) {
    const chat = onTerminal(['run', 'tiny'], { env })
    await expect.poll(() => chat.output(), { timeout: 15_000 }).toContain('>>> ')
    chat.type(key)
    expect(await chat.exited).toBe(0)
  }
  const nobody = onTerminal(['run', 'nothing'], { env })
  expect(await nobody.exited).toBe(1)
  expect(nobody.output()).toContain("model 'nothing' not found: there are tiny:latest")
})
