import { Ollama } from 'ollama'
import { expect } from 'vitest'
import { expectedText, token, verifyText } from '../engine/tokens.ts'
import type { ScriptedEngine } from '../engine/server.ts'
import { ollamaTurn, openAiTurn } from '../support/canned-engine.ts'
import { KINDS, MODELS, withCanned, type Kind } from '../support/every-engine.ts'
import { all } from '../support/world.ts'

const test = withCanned
  .extend('site', { scope: 'file' }, async ({ house, engines, canned }) => {
    const started: Record<Kind, ScriptedEngine> = {
      ollama: await engines({ kind: 'ollama', models: [MODELS.ollama] }),
      'llama-server': await engines({ kind: 'llama-server', models: ['other'] }),
    }
    // A broken answer would go on, and no client would see how it breaks.
    const gateway = await house.gateway({ DROVER_RESUME: 'false' })
    await house.worker('n1', [...Object.values(started), ...Object.values(canned)].map(({ url }) => url), { gateway })
    return { url: gateway.url, engines: started, ollama: new Ollama({ host: gateway.url }) }
  })

const user = (content: string) => [{ role: 'user', content }]

test.for(KINDS)('the ollama client chats over %s, whole', async (kind, { site }) => {
  const answer = await site.ollama.chat({ model: MODELS[kind], messages: user('job=oc1 tokens=30') })
  expect(answer).toMatchObject({ model: MODELS[kind], done: true, done_reason: 'stop', message: { role: 'assistant' }, eval_count: 30 })
  expect(answer.message.content).toBe(expectedText('oc1', 30))
  expect(answer.prompt_eval_count).toBeGreaterThan(0)
  expect(answer.total_duration).toBeGreaterThan(0)
  expect(Date.parse(String(answer.created_at))).toBeGreaterThan(Date.now() - 60_000)
})

test.for(KINDS)('the ollama client chats over %s, streamed', async (kind, { site }) => {
  let text = ''
  const parts = await all(await site.ollama.chat({ model: MODELS[kind], messages: user('job=oc2 tokens=30'), stream: true }))
  for (const part of parts) {
    expect(part.model).toBe(MODELS[kind])
    expect(part.message.role).toBe('assistant')
    text += part.message.content
  }
  expect(text).toBe(expectedText('oc2', 30))
  expect(parts.filter(({ done }) => done)).toHaveLength(1)
  expect(parts.at(-1)).toMatchObject({ done: true, done_reason: 'stop', eval_count: 30 })
})

test.for(KINDS)('the ollama client generates over %s, whole', async (kind, { site }) => {
  const answer = await site.ollama.generate({ model: MODELS[kind], prompt: 'job=og1 tokens=30' })
  expect(answer).toMatchObject({ model: MODELS[kind], response: expectedText('og1', 30), done: true, done_reason: 'stop', eval_count: 30 })
})

test.for(KINDS)('the ollama client generates over %s, streamed', async (kind, { site }) => {
  const parts = await all(await site.ollama.generate({ model: MODELS[kind], prompt: 'job=og2 tokens=30', stream: true }))
  expect(parts.map(({ response }) => response).join('')).toBe(expectedText('og2', 30))
  expect(parts.at(-1)).toMatchObject({ done: true, done_reason: 'stop', eval_count: 30 })
  expect(parts.every(({ model }) => model === MODELS[kind])).toBe(true)
})

test.for(KINDS)('a limit that the ollama client sets is kept over %s, and told as the reason of the end', async (kind, { site }) => {
  const answer = await site.ollama.generate({ model: MODELS[kind], prompt: 'job=og3 tokens=30', options: { num_predict: 7 } })
  expect(answer).toMatchObject({ response: expectedText('og3', 7), done_reason: 'length', eval_count: 7 })
})

test.for([
  { asked: 'NATIVE:8b', kind: 'ollama' },
  { asked: 'library/native:8b', kind: 'ollama' },
  { asked: 'Other', kind: 'llama-server' },
] as const)('the model is echoed as written: $asked', async ({ asked, kind }, { site }) => {
  const key = `echo-${asked.replaceAll(/\W/g, '-')}`
  const whole = await site.ollama.chat({ model: asked, messages: user(`job=${key} tokens=3`) })
  expect(whole.model).toBe(asked)
  const parts = await all(await site.ollama.generate({ model: asked, prompt: `job=${key} tokens=3`, stream: true }))
  expect(new Set(parts.map(({ model }) => model))).toEqual(new Set([asked]))
  expect((await site.engines[kind].admin.job(key)).completed).toBe(2)
})

test('the ollama client lists the models of all engines, those in memory, and a version', async ({ site }) => {
  await site.ollama.generate({ model: MODELS.ollama, prompt: 'job=load tokens=1' })
  const { models } = await site.ollama.list()
  expect(models.map(({ name }) => name).toSorted()).toEqual(['canned:native', 'canned:other', 'native:8b', 'other:latest'])
  const native = models.find(({ name }) => name === 'native:8b')
  expect(native).toMatchObject({ model: 'native:8b', size: 4_000_000_000, details: { family: 'llama', parameter_size: '8.0B', quantization_level: 'Q4_K_M' } })
  for (const { digest, modified_at: at } of models) {
    expect(digest).toMatch(/^[0-9a-f]{64}$/)
    expect(Date.parse(String(at))).not.toBeNaN()
  }
  await expect.poll(async () => (await site.ollama.ps()).models.map(({ name }) => name).toSorted(), { timeout: 10_000 }).toEqual(['canned:other', 'native:8b', 'other:latest'])
  const { models: loaded } = await site.ollama.ps()
  for (const { expires_at: at } of loaded) expect(Date.parse(String(at))).toBeGreaterThan(Date.now())
  expect((await site.ollama.version()).version).toMatch(/^\d+\.\d+\.\d+$/)
})

test('an empty prompt loads a model, and keep_alive 0 unloads it', async ({ site }) => {
  const { ollama, engines } = site
  expect(await ollama.generate({ model: MODELS.ollama, prompt: '' })).toMatchObject({ response: '', done: true, done_reason: 'load' })
  expect((await engines.ollama.admin.stats()).models['native:8b']?.loaded).toBe(true)
  expect(await ollama.generate({ model: MODELS.ollama, prompt: '', keep_alive: 0 })).toMatchObject({ done: true, done_reason: 'unload' })
  expect((await engines.ollama.admin.stats()).models['native:8b']?.loaded).toBe(false)
  expect(await ollama.chat({ model: MODELS['llama-server'], messages: [] })).toMatchObject({
    done: true, done_reason: 'load', message: { role: 'assistant', content: '' },
  })
})

test.for([true, false])('the ollama client hears of an unknown model as Ollama says it (streamed: %s)', async (stream, { site }) => {
  const { ollama } = site
  const not = { name: 'ResponseError', status_code: 404, error: "model 'Nobody/has:this' not found" }
  const chat = { model: 'Nobody/has:this', messages: user('hello') }
  await expect(stream ? ollama.chat({ ...chat, stream }) : ollama.chat({ ...chat, stream })).rejects.toMatchObject(not)
  const generate = { model: 'Nobody/has:this', prompt: 'hello' }
  await expect(stream ? ollama.generate({ ...generate, stream }) : ollama.generate({ ...generate, stream })).rejects.toMatchObject(not)
})

test.for(KINDS)('an error in mid-stream over %s throws in the ollama client after the text before it', async (kind, { site }) => {
  let text = ''
  const read = async () => {
    const stream = await site.ollama.chat({ model: MODELS[kind], messages: user('job=oerr tokens=30 stall_at=5 error_at=9'), stream: true })
    for await (const part of stream) {
      expect(part.done).toBe(false)
      text += part.message.content
      // What was said before is read; now the engine goes on to its fault.
      if (text.includes(token('oerr', 4))) await site.engines[kind].admin.release('oerr')
    }
  }
  await expect(read()).rejects.toThrow('scripted failure')
  expect(verifyText('oerr', text)).toEqual({ ok: true, count: 9 })
})

test.for(KINDS)('an answer that %s cuts short throws in the ollama client', async (kind, { site }) => {
  const answer = await site.ollama.generate({ model: MODELS[kind], prompt: `job=ocut-${kind} tokens=30 rate=200 cut_at=9`, stream: true })
  await expect(all(answer)).rejects.toThrow(/engine/)
})

test('aborting the ollama client stops the engine', async ({ site, onTestFinished }) => {
  const { ollama, engines } = site
  const own = new Ollama({ host: site.url })
  onTestFinished(() => own.abort())
  const stream = await own.chat({ model: MODELS.ollama, messages: user('job=oab tokens=100000 rate=50'), stream: true })
  for await (const part of stream) if (part.message.content.includes('oab.3')) break
  stream.abort()
  await expect.poll(async () => (await engines.ollama.admin.job('oab')).aborts, { timeout: 2_000, interval: 20 }).toBe(1)
  expect((await ollama.chat({ model: MODELS.ollama, messages: user('job=oab2 tokens=2') })).message.content).toBe(expectedText('oab2', 2))
})

const WEATHER = { type: 'function', function: { name: 'weather', description: 'of a city', parameters: { type: 'object', properties: { city: { type: 'string' } } } } }
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII='

test.for(KINDS.flatMap((kind) => [true, false].map((stream) => ({ kind, stream }))))(
  'the ollama client hears thoughts and calls of tools over $kind (streamed: $stream), and shows images',
  async ({ kind, stream }, { site, canned }) => {
    const said = { thinking: 'I look it up.', call: { name: 'weather', arguments: { city: 'Ulm' } } }
    canned.ollama.answers('/api/chat', { answer: ollamaTurn(said) })
    canned['llama-server'].answers('/v1/chat/completions', { answer: openAiTurn(said) })
    const messages = [{ role: 'user', content: 'Where is this, and how is the weather?', images: [PIXEL] }]
    const request = { model: kind === 'ollama' ? 'canned:native' : 'canned:other', messages, tools: [WEATHER], think: true }
    const parts = stream ? await all(await site.ollama.chat({ ...request, stream })) : [await site.ollama.chat({ ...request, stream })]
    expect(parts.map(({ message }) => message.thinking ?? '').join('')).toBe('I look it up.')
    expect(parts.flatMap(({ message }) => message.tool_calls ?? [])).toMatchObject([{ function: { name: 'weather', arguments: { city: 'Ulm' } } }])
    expect(parts.at(-1)).toMatchObject({ done: true, done_reason: 'stop', prompt_eval_count: 7, eval_count: 3 })
    const { body = {} } = canned[kind].seen.at(-1) ?? {}
    expect(body).toMatchObject({ tools: [WEATHER], ...(kind === 'ollama' ? { think: true, messages } : {}) })
    if (kind === 'llama-server')
      expect(body['messages']).toMatchObject([{ content: [{ type: 'text' }, { type: 'image_url', image_url: { url: `data:image/png;base64,${PIXEL}` } }] }])
  },
)
