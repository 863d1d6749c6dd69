import { setTimeout as sleep } from 'node:timers/promises'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { expect } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { all, DIALECTS, test as world } from '../support/world.ts'

const modelOf = (dialect: string) => `late-${dialect.replace('.', '-')}`

/** The gateway speaks to those who wait for a first token after 100 ms already. */
const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  // An engine that has failed leaves its model alone for a while, so each case has a model of its own.
  const engine = await engines({ slots: 4, maxLoaded: 100, models: ['scripted', 'whole', ...DIALECTS.map(modelOf)] })
  const gateway = await house.gateway({ DROVER_GRACE: '100ms', DROVER_KEEP_ALIVE: '100ms' })
  await house.worker('n1', [{ url: engine.url, slots: 4, maxLoaded: 100 }], { gateway })
  return {
    url: gateway.url,
    engine,
    ollama: new Ollama({ host: gateway.url }),
    openai: new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused' }),
    /** Lets a job go once its client has waited. */
    async letGo(key: string, waited: Promise<unknown>) {
      await until('the engine has it', async () => (await engine.admin.job(key)).running === 1)
      await waited
      await engine.admin.release(key)
    },
  }
})

const user = (content: string) => [{ role: 'user' as const, content }]

test.concurrent('both clients wait for a slow engine through the signs of life that they are sent', async ({ site }) => {
  const begun = [
    site.ollama.chat({ model: 'scripted', messages: user('job=w1 tokens=20 hold=1'), stream: true }),
    site.ollama.generate({ model: 'scripted', prompt: 'job=w2 tokens=20 hold=1', stream: true }),
    site.openai.chat.completions.create({ model: 'scripted', messages: user('job=w3 tokens=20 hold=1'), stream: true }),
  ] as const
  const heard = Promise.withResolvers<void>()
  const listened = async () => {
    const parts = []
    for await (const part of await begun[0]) if (parts.push(part) === 5) heard.resolve()
    return parts
  }
  // Each has its header, and one has heard several signs of life, which all are sent as often.
  const waited = Promise.all([...begun, heard.promise])
  const [chat, generated, completion] = await Promise.all([listened(), begun[1].then(all), begun[2].then(all), ...['w1', 'w2', 'w3'].map((key) => site.letGo(key, waited))])
  expect(chat.map(({ message }) => message.content).join('')).toBe(expectedText('w1', 20))
  expect(chat.filter(({ message }) => message.content === '').length).toBeGreaterThan(4)
  expect(chat.every(({ model }) => model === 'scripted')).toBe(true)
  expect(generated.map(({ response }) => response).join('')).toBe(expectedText('w2', 20))
  expect(completion.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(expectedText('w3', 20))
})

test.concurrent('a whole answer is waited for without a word, so that its status stays open', async ({ site }) => {
  await site.engine.admin.set({ hold: 1, error_at: 0 }, 'w4')
  const asked = site.ollama.chat({ model: 'whole', messages: user('job=w4') })
  const [refused] = await Promise.all([asked.catch((error: unknown) => error), site.letGo('w4', sleep(700))])
  expect(refused).toMatchObject({ name: 'ResponseError', status_code: 502 })
})

test.concurrent.for(DIALECTS)('a job that fails after its client was told to wait ends in an error, never as complete: %s', async (dialect, { site }) => {
  const key = modelOf(dialect)
  await site.engine.admin.set({ hold: 1, error_at: 0 }, key)
  const asking = ask(site.url, dialect, { key, model: key })
  const [told] = await Promise.all([asking.told, site.letGo(key, asking.head)])
  expect(told).toMatchObject({ status: 200, ended: false, text: '', error: expect.stringMatching(/\w/) as string })
})
