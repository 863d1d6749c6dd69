import { expect, onTestFinished, test } from 'vitest'
import { engineConformance } from './engine.conformance.ts'
import { slotsFor } from '@drover/core'
import type { Engine, EngineView } from './engine.ts'
import { llamaServer } from './llama-server.ts'
import type { LlamaServerOptions } from './llama-server.ts'
import { recorded, recordedJson } from './recorded.ts'
import { json, standIn } from './stand-in.ts'
import type { Heard } from './stand-in.ts'

type Fields = Record<string, unknown>
const single = (name: 'props' | 'models') => recordedJson(`llama-server.${name}.json`) as Fields
const router = (models: 'none' | 'one') => recordedJson(`llama-router.models-${models}-loaded.json`) as Fields

interface Documents {
  props: unknown
  models: unknown
  status?: number
}

const serverWith =
  (documents: Documents) =>
  ({ path, response }: Heard): void => {
    if (path === '/props') json(response, documents.props, documents.status)
    else if (path === '/v1/models') json(response, documents.models, documents.status)
    else json(response, { error: { message: 'File Not Found', type: 'not_found_error', code: 404 } }, 404)
  }

const never = new AbortController().signal

const open = async (documents: Documents, options: Partial<LlamaServerOptions> = {}): Promise<Engine> => {
  const server = await standIn(serverWith(documents))
  const engine = llamaServer({ id: 'llama', url: server.url, ...options })
  onTestFinished(async () => {
    await engine.close()
    await server[Symbol.asyncDispose]()
  })
  return engine
}

const lookAt = async (documents: Documents, options: Partial<LlamaServerOptions> = {}): Promise<EngineView> =>
  (await open(documents, options)).look(never)

engineConformance({
  make: llamaServer,
  documents: serverWith({ props: single('props'), models: single('models') }),
  exchange: {
    path: '/v1/chat/completions',
    body: '{"messages":[],"stream":true}',
    contentType: 'text/event-stream',
    answer: recorded('llama-server.chat-stream.txt'),
  },
})

test('what a real llama-server tells of its model is what the view tells', async () => {
  const view = await lookAt({ props: single('props'), models: single('models') })
  expect(view).toMatchObject({ version: 'b11669-Debian', slotsPerModel: 2, maxLoaded: 1 })
  expect(view.held).toEqual([
    {
      model: 'tiny:latest',
      engineName: 'models/tiny.gguf',
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      size: 1181952,
      modifiedAt: expect.any(String),
      format: 'gguf',
      parameterSize: '295.49K',
      quantization: 'F32',
      contextLength: 2048,
      embeddingLength: 64,
      capabilities: ['completion', 'tools'],
    },
  ])
  expect(view.loaded).toEqual([{ model: 'tiny:latest', size: 1181952, sizeVram: 0, contextLength: 512 }])
})

test.each([
  ['the configured name', { name: 'House/Special:8B' }, { model_alias: 'alias', model_path: '/m/file.gguf' }, 'house/special:8b'],
  ['its alias', {}, { model_alias: 'hf.co/Some/Model:Q4_K_M', model_path: '/m/file.gguf' }, 'hf.co/some/model:q4_k_m'],
  ['the name of its file', {}, { model_alias: '/m/File-Q8.gguf', model_path: '/m/File-Q8.gguf' }, 'file-q8:latest'],
  ['its alias as far as a name can hold it', {}, { model_alias: 'my model!', model_path: '/m/file.gguf' }, 'my-model-:latest'],
])('a model is called by %s', async (_which, options, props, name) => {
  const { held } = await lookAt({ props: { ...single('props'), ...props }, models: single('models') }, options)
  expect(held.map(({ model }) => model)).toEqual([name])
})

test('a name that cannot be one is refused at once', () => {
  expect(() => llamaServer({ id: 'llama', url: 'http://127.0.0.1:1', name: 'no name!' })).toThrow("cannot be a model's name")
})

const digestOf = async (meta: Fields): Promise<string | undefined> => {
  const models = { data: [{ id: 'tiny', meta: { n_params: 1, size: 2, ...meta } }] }
  return (await lookAt({ props: { ...single('props'), model_alias: 'tiny' }, models })).held[0]?.digest
}

test('the digest tells weights apart and is the same for the same weights', async () => {
  expect(await digestOf({})).toBe(await digestOf({ n_ctx: 99 }))
  expect(await digestOf({})).not.toBe(await digestOf({ size: 3 }))
})

test('a server that still loads holds nothing, and that is no failure', async () => {
  const loading = { error: { message: 'Loading model', type: 'unavailable_error', code: 503 } }
  expect(await lookAt({ props: loading, models: loading, status: 503 })).toMatchObject({ held: [], loaded: [], slotsPerModel: 1 })
})

test('a refused key is told as such', async () => {
  const refused = { error: { message: 'Invalid API Key', type: 'authentication_error', code: 401 } }
  await expect(lookAt({ props: refused, models: refused, status: 401 })).rejects.toMatchObject({
    code: 'engine_failed',
    message: 'engine llama refused its API key',
  })
})

test('fewer slots than the server has may be used, not more', async () => {
  const documents = { props: single('props'), models: single('models') }
  expect((await lookAt(documents, { slots: 1 })).slotsPerModel).toBe(1)
  expect((await lookAt(documents, { slots: 9 })).slotsPerModel).toBe(2)
})

test('a server that sleeps has its model, but not in memory', async () => {
  const view = await lookAt({ props: { ...single('props'), is_sleeping: true }, models: single('models') })
  expect(view.held).toHaveLength(1)
  expect(view.loaded).toEqual([])
})

test('a router holds every model of its folder and tells which are loaded', async () => {
  const view = await lookAt({ props: recordedJson('llama-router.props.json'), models: router('one') })
  expect(view.held.map(({ model, engineName }) => [model, engineName])).toEqual([
    ['other-q8_0:latest', 'Other-Q8_0'],
    ['tiny:latest', 'tiny'],
  ])
  expect(view.loaded).toEqual([{ model: 'other-q8_0:latest', size: 1181952, sizeVram: 0, contextLength: 512 }])
  expect(view).toMatchObject({ maxLoaded: 2, slotsPerModel: 2 })
  expect(view.held.map(({ model }) => slotsFor(view, model))).toEqual([2, 2])
})

const digests = ({ held }: EngineView): string[] => held.map(({ digest }) => digest)

test("a router's model keeps its digest and its size when it is loaded and unloaded", async () => {
  const documents: Documents = { props: recordedJson('llama-router.props.json'), models: router('none') }
  const engine = await open(documents)
  const before = await engine.look(never)
  documents.models = router('one')
  const loaded = await engine.look(never)
  documents.models = router('none')
  const after = await engine.look(never)
  expect(before.loaded).toEqual([])
  expect(loaded.loaded).toHaveLength(1)
  expect(after.loaded).toEqual([])
  expect(digests(loaded)).toEqual(digests(before))
  expect(after.held).toEqual(loaded.held)
})

test('a router is never asked about one model, for that would load it', async () => {
  const server = await standIn(serverWith({ props: recordedJson('llama-router.props.json'), models: router('none') }))
  const engine = llamaServer({ id: 'llama', url: server.url })
  await engine.look(never)
  expect(server.heard.map(({ method, path }) => `${method} ${path}`).toSorted()).toEqual(['GET /props', 'GET /v1/models'])
  await engine.close()
  await server[Symbol.asyncDispose]()
})

test.each([
  ['embeddings', { '/v1/embeddings': [400, '"input" or "content" must be provided'] }, ['completion', 'tools', 'embedding']],
  ['ranks', { '/v1/rerank': [400, '"query" must be provided'], '/v1/embeddings': [400, 'must be provided'] }, ['completion', 'tools', 'rerank']],
  ['vectors of tokens', { '/v1/embeddings': [400, "Pooling type 'none' is not OAI compatible"] }, ['completion', 'tools']],
  ['nothing more', {}, ['completion', 'tools']],
] as const)('how a server refuses an empty request tells that it was started for %s', async (_name, answers, capabilities) => {
  const asked: string[] = []
  const documents = serverWith({ props: single('props'), models: single('models') })
  const server = await standIn((heard) => {
    if (heard.method !== 'POST') return documents(heard)
    asked.push(heard.path)
    const [status, message] = (answers as Record<string, readonly [number, string]>)[heard.path] ?? [501, 'This server does not support it']
    json(heard.response, { error: { code: status, message } }, status)
  })
  const engine = llamaServer({ id: 'llama', url: server.url })
  onTestFinished(async () => {
    await engine.close()
    await server[Symbol.asyncDispose]()
  })
  const told = async () => (await engine.look(never)).held[0]?.capabilities
  expect(await told()).toEqual(['completion', 'tools'])
  await expect.poll(told).toEqual(capabilities)
  const times = asked.length
  await told()
  await told()
  expect(asked).toHaveLength(times)
})

test('a model is described by what the server says of its template and context, its architecture being nowhere told', async () => {
  const engine = await open({ props: single('props'), models: single('models') })
  const [held] = (await engine.look(never)).held
  if (!held) throw new Error('no model')
  expect(await engine.describe(held, never)).toEqual({
    capabilities: held.capabilities,
    modelInfo: {
      'general.architecture': 'unknown', 'general.basename': 'tiny', 'general.parameter_count': 295_488, 'unknown.context_length': 2048, 'unknown.embedding_length': 64,
      'unknown.vocab_size': 1024,
    },
    parameters: `${'num_ctx'.padEnd(30)} 512`,
    template: single('props')['chat_template'],
  })
})

test('a router’s model is described without being loaded', async () => {
  const server = await standIn(serverWith({ props: recordedJson('llama-router.props.json'), models: router('none') }))
  const engine = llamaServer({ id: 'llama', url: server.url })
  const [held] = (await engine.look(never)).held
  if (!held) throw new Error('no model')
  expect(await engine.describe(held, never)).toMatchObject({ modelInfo: { 'general.architecture': 'unknown' } })
  expect(server.heard.every(({ path }) => path === '/props' || path === '/v1/models')).toBe(true)
  await engine.close()
  await server[Symbol.asyncDispose]()
})
