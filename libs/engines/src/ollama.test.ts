import { slotsFor, type HeldModel, type ModelName } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import { engineConformance } from './engine.conformance.ts'
import type { EngineView } from './engine.ts'

import { ollama } from './ollama.ts'
import type { OllamaOptions } from './ollama.ts'
import { onlyModels } from './only-models.ts'
import { recordedJson } from './recorded.ts'
import { json, standIn } from './stand-in.ts'
import type { Heard } from './stand-in.ts'

interface Documents {
  tags?: unknown
  ps?: unknown
}

const ollamaWith =
  ({ tags = recordedJson('ollama.tags.json'), ps = recordedJson('ollama.ps.json') }: Documents = {}) =>
  ({ path, response }: Heard): void => {
    const documents: Record<string, unknown> = { '/api/version': { version: '0.33.0' }, '/api/tags': tags, '/api/ps': ps }
    if (path in documents) json(response, documents[path])
    else response.writeHead(404).end('404 page not found')
  }

const heldAs = (engineName: string): HeldModel => ({ model: 'm:latest' as ModelName, engineName, digest: 'd', size: 1, modifiedAt: '' })

const lookAt = async (documents: Documents, options: Partial<OllamaOptions> = {}): Promise<EngineView> => {
  const server = await standIn(ollamaWith(documents))
  const engine = ollama({ id: 'ollama', url: server.url, ...options })
  onTestFinished(async () => {
    await engine.close()
    await server[Symbol.asyncDispose]()
  })
  return engine.look(new AbortController().signal)
}

engineConformance({
  make: ollama,
  documents: ollamaWith(),
  exchange: {
    path: '/api/chat',
    body: '{"model":"llama3.2:latest","messages":[]}',
    contentType: 'application/x-ndjson',
    answer: '{"message":{"content":"grüß dich"},"done":false}\n{"message":{"content":""},"done":true,"done_reason":"stop"}\n',
  },
})

test('Ollama speaks its own API and the one of OpenAI', async () => {
  const engine = ollama({ id: 'ollama', url: 'http://127.0.0.1:11434' })
  expect(engine).toMatchObject({ id: 'ollama', kind: 'ollama', speaks: expect.arrayContaining(['ollama.chat', 'ollama.generate', 'ollama.embed', 'openai.chat', 'openai.embeddings']) })
  await engine.close()
})

test.each([
  ['0.33.0', true], ['0.14.0-rc1', true], ['1.0.0', true], ['v0.15.2', true], ['0.13.5', false], ['0.9.1', false], ['0.0.0', false], ['dev', false],
])('an Ollama that says it is %s has /v1/messages: %s', async (version, has) => {
  const server = await standIn(({ path, response }) => json(response, path === '/api/version' ? { version } : { models: [] }))
  const engine = onlyModels(ollama({ id: 'ollama', url: server.url }), [])
  onTestFinished(async () => {
    await engine.close()
    await server[Symbol.asyncDispose]()
  })
  expect(engine.speaks).not.toContain('anthropic.messages')
  await engine.look(new AbortController().signal)
  expect(engine.speaks.includes('anthropic.messages')).toBe(has)
})

test('what Ollama tells of a model is what the view tells', async () => {
  const view = await lookAt({})
  expect(view).toMatchObject({ version: '0.33.0', slotsPerModel: 1, maxLoaded: 3 })
  expect(view.held[0]).toEqual({
    model: 'llama3.2:latest',
    engineName: 'llama3.2:latest',
    digest: 'a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72',
    size: 2019393189,
    modifiedAt: '2026-08-20T10:11:12.123456789+02:00',
    format: 'gguf',
    family: 'llama',
    parameterSize: '3.2B',
    quantization: 'Q4_K_M',
    contextLength: 131072,
    embeddingLength: 3072,
    capabilities: ['completion', 'tools'],
  })
})

test('the engine is asked under the name that it uses itself', async () => {
  const { held } = await lookAt({})
  expect(held.map(({ model, engineName }) => [model, engineName])).toContainEqual([
    'hf.co/someone/some-model-gguf:q8_0',
    'hf.co/Someone/Some-Model-GGUF:Q8_0',
  ])
})

test('a loaded model that stays has no expiry, and another keeps it', async () => {
  const { loaded } = await lookAt({})
  expect(loaded).toEqual([
    { model: 'llama3.2:latest', size: 3367856128, sizeVram: 3367856128, contextLength: 4096 },
    {
      model: 'nomic-embed-text:latest',
      size: 560000000,
      sizeVram: 0,
      expiresAt: '2026-11-20T18:00:00.5+01:00',
      contextLength: 2048,
    },
  ])
})

test('a model whose weights are in a cloud is not held', async () => {
  const { held } = await lookAt({})
  expect(held.map(({ model }) => model)).not.toContain('gpt-oss:120b-cloud')
})

test('an older Ollama tells less and is understood', async () => {
  const { held, loaded } = await lookAt({ tags: recordedJson('ollama.tags-older.json'), ps: { models: null } })
  expect(loaded).toEqual([])
  expect(held).toEqual([
    {
      model: 'mistral:7b',
      engineName: 'Mistral:7B',
      digest: '2ae6f6dd7a3dd734790bbbf58b8909a606e0e7e97e94b7604e0aa7ae4490e6d8',
      size: 4113301824,
      modifiedAt: '2023-11-04T14:56:49.277302595-07:00',
      format: 'gguf',
      family: 'llama',
      parameterSize: '7B',
      quantization: 'Q4_0',
    },
  ])
})

test('models that Ollama runs one at a time have one slot, whatever the others have', async () => {
  const view = await lookAt({}, { slots: 4, maxLoaded: 2 })
  const slots = Object.fromEntries(view.held.map(({ model }) => [model, slotsFor(view, model)]))
  expect(slots).toEqual({ 'llama3.2:latest': 4, 'hf.co/someone/some-model-gguf:q8_0': 1, 'nomic-embed-text:latest': 1 })
  expect(view.maxLoaded).toBe(2)
  expect(slotsFor(view, 'unheard-of:latest' as ModelName)).toBe(4)
})

test('names that differ in case are one model, and what is no name is no model', async () => {
  const tags = { models: [{ name: 'Tiny' }, { name: 'tiny:latest' }, { name: 'no name!' }] }
  const { held } = await lookAt({ tags, ps: { models: [{ name: 'tiny' }, { name: 'gone' }] } })
  expect(held.map(({ engineName, digest }) => [engineName, digest.length])).toEqual([['Tiny', 64]])
})

test('an Ollama without models is a fine engine', async () => {
  expect(await lookAt({ tags: { models: [] }, ps: {} })).toMatchObject({ held: [], loaded: [] })
})

test('a model is described once it is asked for, in what the server says of it', async () => {
  const shown = {
    license: 'MIT', modelfile: 'FROM x', parameters: 'stop "x"', template: '{{ .Prompt }}', details: { family: 'llama' }, projector_info: null,
    model_info: { 'general.architecture': 'llama', 'llama.context_length': 8192, 'tokenizer.ggml.tokens': [] }, tensors: [], capabilities: ['completion'], modified_at: '',
  }
  await using server = await standIn(({ path, response }) => json(response, path === '/api/show' ? shown : {}, path === '/api/show' ? 200 : 404))
  const engine = ollama({ id: 'ollama', url: server.url })
  const held = heldAs('Some/Model:8b')
  expect(await engine.describe(held, new AbortController().signal)).toEqual({
    license: 'MIT', modelfile: 'FROM x', parameters: 'stop "x"', template: '{{ .Prompt }}', modelInfo: shown.model_info, tensors: [], capabilities: ['completion'],
  })
  expect(server.heard.map(({ method, path, body }) => [method, path, JSON.parse(body)])).toEqual([['POST', '/api/show', { model: 'Some/Model:8b' }]])
  await engine.close()
})

test('a model that was removed meanwhile is not described, and nonsense is an error', async () => {
  const answers = [{ status: 404, body: { error: 'model not found' } }, { status: 200, body: { model_info: 7 } }, { status: 500, body: {} }]
  await using server = await standIn(({ response }) => {
    const { status = 500, body = {} } = answers.shift() ?? {}
    json(response, body, status)
  })
  const engine = ollama({ id: 'ollama', url: server.url })
  const describe = () => engine.describe(heldAs('m'), new AbortController().signal)
  expect(await describe()).toBeUndefined()
  await expect(describe()).rejects.toMatchObject({ code: 'engine_failed', message: 'engine ollama does not answer POST /api/show as Ollama does' })
  await expect(describe()).rejects.toMatchObject({ code: 'engine_failed', message: 'engine ollama answered POST /api/show with status 500' })
  await engine.close()
})

test('a model is loaded as it is wished, and unloaded, by requests without a text', async () => {
  const asked: [string, unknown][] = []
  const server = await standIn(({ path, body, response }) => {
    asked.push([path, JSON.parse(body)])
    json(response, { done: true })
  })
  const engine = ollama({ id: 'ollama', url: server.url })
  onTestFinished(async () => {
    await engine.close()
    await server[Symbol.asyncDispose]()
  })
  const { signal } = new AbortController()
  await engine.load?.(heldAs('M:latest'), {}, signal)
  await engine.load?.({ ...heldAs('M:latest'), capabilities: ['completion', 'embedding'] }, { keepAliveMs: Infinity, numCtx: 8192 }, signal)
  await engine.load?.({ ...heldAs('M:latest'), capabilities: ['embedding'] }, { keepAliveMs: 90_000 }, signal)
  await engine.unload?.({ ...heldAs('M:latest'), capabilities: ['embedding'] }, signal)
  expect(asked).toEqual([
    ['/api/generate', { model: 'M:latest', stream: false }],
    ['/api/generate', { model: 'M:latest', keep_alive: -1, options: { num_ctx: 8192 }, stream: false }],
    ['/api/embed', { model: 'M:latest', keep_alive: 90, input: '' }],
    ['/api/generate', { model: 'M:latest', keep_alive: 0, stream: false }],
  ])
})

test.each([
  [500, { error: 'model requires more system memory' }, { code: 'engine_refused', status: 500, message: 'model requires more system memory' }],
  [404, { error: "model 'M' not found" }, { code: 'engine_refused', status: 404 }],
  [503, { error: 'server busy' }, { code: 'engine_failed' }],
  [500, 'nonsense', { code: 'engine_failed' }],
] as const)('a load that is answered with %i %j', async (status, body, error) => {
  const server = await standIn(({ response }) => json(response, body, status))
  const engine = ollama({ id: 'ollama', url: server.url })
  onTestFinished(async () => {
    await engine.close()
    await server[Symbol.asyncDispose]()
  })
  await expect(engine.load?.(heldAs('M'), {}, new AbortController().signal)).rejects.toMatchObject(error)
})
