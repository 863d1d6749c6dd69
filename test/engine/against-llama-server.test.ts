import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { startScriptedEngine } from './server.ts'

/** What a value is made of, without its texts and numbers: names in their order, types at the ends. */
const shapeOf = (value: unknown): unknown => {
  if (value === null || typeof value !== 'object') return value === null ? 'null' : typeof value
  if (Array.isArray(value)) return value.map(shapeOf)
  return Object.entries(value).map(([name, field]) => [name, shapeOf(field)])
}

const parsed = (text: string): unknown => (text === '[DONE]' ? text : JSON.parse(text))

const ask = async (url: string, path: string, body: unknown) => {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  // The real one closes its connection behind every stream, whatever its header says: a second request over it may be reset.
  const answer = await fetch(`${url}${path}`, { method: 'POST', body: text, headers: { connection: 'close' } })
  const content = await answer.text()
  const type = answer.headers.get('content-type')
  const events = type === 'text/event-stream' ? content.split('\n\n').filter(Boolean).map((event) => event.slice(6)) : [content]
  return { status: answer.status, type, end: content.slice(-2) === '\n\n', events: events.map(parsed) }
}

const prompt = 'job=c tokens=3'
const messages = [{ role: 'user', content: prompt }]
const common = { model: 'any', max_tokens: 3, temperature: 0 }
const requests: [name: string, path: string, body: unknown][] = [
  ['a streamed chat', '/v1/chat/completions', { ...common, messages, stream: true }],
  ['a streamed chat with usage', '/v1/chat/completions', {
    ...common, messages, stream: true, stream_options: { include_usage: true },
  }],
  ['a chat as one body', '/v1/chat/completions', { ...common, messages }],
  ['a streamed completion', '/v1/completions', { ...common, prompt, stream: true }],
  ['a completion as one body', '/v1/completions', { ...common, prompt }],
  ['a gap, by a model that has no tokens for it', '/infill', { input_prefix: prompt, input_suffix: 'x' }],
  ['a prompt without messages', '/v1/chat/completions', common],
  ['two assistant messages at the end', '/v1/chat/completions', {
    ...common, messages: [...messages, { role: 'assistant', content: ' a' }, { role: 'assistant', content: ' b' }],
  }],
  ['a body that is not JSON', '/v1/chat/completions', '{"model":'],
  ['an unknown path', '/api/chat', {}],
]

test.skipIf(skipsWithoutLlamaServer())('the scripted llama-server answers in the shape of the real one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-shape-'))
  try {
    const model = join(folder, 'tiny.gguf')
    await writeTinyModel({ path: model })
    const real = await startLlamaServer({ model })
    onTestFinished(() => real[Symbol.asyncDispose]())
    const scripted = await startScriptedEngine({ kind: 'llama-server', models: ['tiny'] })
    onTestFinished(() => scripted[Symbol.asyncDispose]())
    for (const [name, path, body] of requests) {
      const [wanted, given] = [await ask(real.url, path, body), await ask(scripted.url, path, body)]
      expect({ ...given, events: given.events.map(shapeOf) }, name).toEqual({ ...wanted, events: wanted.events.map(shapeOf) })
    }
    for (const path of ['/health', '/v1/models']) {
      const [wanted, given] = await Promise.all([real.url, scripted.url].map(async (url) => (await fetch(url + path)).json()))
      expect(shapeOf(given), path).toEqual(shapeOf(wanted))
    }
    const props = (await (await fetch(`${real.url}/props`)).json()) as Record<string, unknown>
    const scriptedProps = (await (await fetch(`${scripted.url}/props`)).json()) as Record<string, unknown>
    for (const [field, value] of Object.entries(scriptedProps)) expect(typeof props[field], field).toBe(typeof value)
    const metrics = await (await fetch(`${real.url}/metrics`)).text()
    const names = (await (await fetch(`${scripted.url}/metrics`)).text()).matchAll(/^# TYPE .*$/gm)
    for (const [line] of names) expect(metrics).toContain(line)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
