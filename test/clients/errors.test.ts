import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text as readAll } from 'node:stream/consumers'
import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { errorTextOf, send } from '../support/raw.ts'
import { test as world } from '../support/world.ts'

const entry = (name: string) => ({ name, model: name, modified_at: '2026-01-02T03:04:05Z', size: 1, digest: 'd'.repeat(64), details: { family: 'llama' } })

/** An Ollama that refuses what it is asked for as its prompt says: a status and a text. Its model has all that a model can have. */
const refusingOllama = async () => {
  const documents: Record<string, unknown> = {
    '/api/version': { version: '0.33.0' }, '/api/tags': { models: ['refuses:latest', 'fails:a', 'fails:b'].map(entry) }, '/api/ps': { models: [] }, '/api/show': { model_info: {}, capabilities: ['completion'] },
  }
  const server = createServer((request, response) => {
    void (async () => {
      const body = await readAll(request)
      const document = documents[request.url ?? '']
      // The paths of other engines are tried, too.
      if (!document && request.method === 'GET') return response.writeHead(404).end('404 page not found')
      const asked = document ? undefined : (JSON.parse(body) as { prompt?: string; messages?: { content: string }[] })
      const { status = 200, error = '' } = asked ? (JSON.parse(asked.prompt ?? asked.messages?.[0]?.content ?? '{}') as { status?: number; error?: string }) : {}
      response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(document ?? { error }))
    })()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.closeAllConnections() === undefined && server.close() }
}

const test = world
  .extend('refusing', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const engine = await refusingOllama()
    onCleanup(() => void engine.close())
    return engine
  })
  .extend('site', { scope: 'file' }, async ({ house, engines, refusing }) => {
    const engine = await engines({ models: ['scripted'] })
    const gateway = await house.gateway()
    await house.worker('n1', [engine.url, refusing.url], { gateway })
    return { url: gateway.url, engine }
  })

interface Row {
  mistake: string
  /** Paths, or `METHOD path`. */
  at: string[]
  body: unknown
  status: number
  text: string | RegExp
}

const TALK = ['/api/chat', '/api/generate']
const NAMED = ['/api/show', '/api/pull', '/api/push', '/api/create', 'DELETE /api/delete']
const HELLO = [{ role: 'user', content: 'hello' }]
const asked = (fields: Record<string, unknown>) => ({ model: 'scripted', messages: HELLO, prompt: 'hello', ...fields })

/** The contract's table of errors, as far as the gateway itself refuses; texts are Ollama's (v0.33). */
const ROWS: Row[] = [
  { mistake: 'an empty body', at: [...TALK, ...NAMED, '/api/copy'], body: '', status: 400, text: 'missing request body' },
  { mistake: 'bad JSON', at: [...TALK, ...NAMED, '/api/copy'], body: 'xyz', status: 400, text: "invalid character 'x' looking for beginning of value" },
  { mistake: 'JSON that is cut off', at: [...TALK, ...NAMED, '/api/copy'], body: '{"model":', status: 400, text: 'unexpected EOF' },
  ...[['/api/chat', 'ChatRequest'], ['/api/generate', 'GenerateRequest'], ['/api/show', 'ShowRequest'], ['/api/pull', 'PullRequest'], ['/api/push', 'PushRequest'], ['/api/create', 'CreateRequest'], ['DELETE /api/delete', 'DeleteRequest']].map(
    ([at = '', struct]): Row => ({ mistake: 'a model that is a number', at: [at], body: { model: 5 }, status: 400, text: `json: cannot unmarshal number into Go struct field ${struct}.model of type string` }),
  ),
  { mistake: 'a source that is a number', at: ['/api/copy'], body: { source: 5 }, status: 400, text: 'json: cannot unmarshal number into Go struct field CopyRequest.source of type string' },
  { mistake: 'no model', at: ['/api/chat', '/api/show', '/api/push', 'DELETE /api/delete'], body: {}, status: 400, text: 'model is required' },
  { mistake: 'no model', at: ['/api/generate'], body: {}, status: 404, text: "model '' not found" },
  { mistake: 'no model', at: ['/api/pull', '/api/create'], body: {}, status: 400, text: 'invalid model name' },
  { mistake: 'a malformed name', at: [...TALK, '/api/show', '/api/pull', '/api/create'], body: { model: 'two words', messages: HELLO, prompt: 'hello' }, status: 400, text: 'invalid model name' },
  { mistake: 'a malformed name', at: ['DELETE /api/delete'], body: { model: 'two words' }, status: 400, text: 'name "two words" is invalid' },
  { mistake: 'an unknown model', at: [...TALK, 'DELETE /api/delete', '/api/push'], body: { model: 'NoBody', messages: HELLO, prompt: 'hello' }, status: 404, text: "model 'NoBody' not found" },
  { mistake: 'an unknown model, told with its tag', at: ['/api/show'], body: { model: 'library/NoBody' }, status: 404, text: "model 'NoBody:latest' not found" },
  { mistake: 'an unknown model', at: ['/api/copy'], body: { source: 'nobody', destination: 'x' }, status: 404, text: 'model "nobody" not found' },
  { mistake: 'a bad source', at: ['/api/copy'], body: { source: 'a b', destination: 'x' }, status: 400, text: 'source "a b" is invalid' },
  { mistake: 'a bad destination', at: ['/api/copy'], body: { source: 'scripted', destination: 'a b' }, status: 400, text: 'destination "a b" is invalid' },
  ...([['temperature', 'hot', 'type float32'], ['num_predict', '5', 'type integer'], ['use_mmap', 1, 'type boolean'], ['stop', 'x', 'type array'], ['stop', [1], 'an array of strings']] as const).map(
    ([name, value, type]): Row => ({ mistake: `an option ${name} of the wrong type`, at: TALK, body: asked({ options: { [name]: value } }), status: 500, text: `option "${name}" must be of ${type}` }),
  ),
  { mistake: 'a bad think', at: TALK, body: asked({ think: 'x' }), status: 400, text: 'invalid think value: "x" (must be "high", "medium", "low", "max", true, or false)' },
  { mistake: 'a keep_alive without a unit', at: TALK, body: asked({ keep_alive: '5' }), status: 400, text: 'time: missing unit in duration "5"' },
  { mistake: 'a keep_alive that is true', at: TALK, body: asked({ keep_alive: true }), status: 400, text: "Unsupported type: 'bool'" },
  { mistake: 'a bad format', at: TALK, body: asked({ format: 'xml' }), status: 500, text: /^invalid format: .*; expected "json" or a valid JSON Schema object$/ },
  { mistake: 'too many top_logprobs', at: TALK, body: asked({ top_logprobs: 21 }), status: 400, text: 'top_logprobs must be between 0 and 20' },
  { mistake: 'raw with a template', at: ['/api/generate'], body: asked({ raw: true, template: 'x' }), status: 400, text: 'raw mode does not support template, system, or context' },
  { mistake: 'no source of a new model', at: ['/api/create'], body: { model: 'new' }, status: 400, text: "neither 'from' or 'files' was specified" },
  { mistake: 'a file that is no digest', at: ['/api/create'], body: { model: 'new', files: { 'a.gguf': '123' } }, status: 400, text: 'invalid digest format' },
  { mistake: 'a bad digest', at: ['/api/blobs/sha256:12'], body: 'bytes', status: 400, text: 'invalid digest format' },
  { mistake: 'a model that no registry has', at: ['/api/pull'], body: { name: 'llama3.2:3b', stream: false }, status: 500, text: 'pull model manifest: file does not exist' },
  { mistake: 'more nodes than there are', at: ['/api/pull'], body: { model: 'new', replicas: 2 }, status: 503, text: /^2 nodes are to hold it: besides those that hold it there is only n1$/ },
  { mistake: 'no nodes', at: ['/api/pull'], body: { model: 'new', replicas: 0 }, status: 400, text: 'replicas must be between 1 and 1000' },
  { mistake: 'a source that is a path', at: ['/api/create'], body: { model: 'new', from: '../x' }, status: 400, text: 'invalid model name' },
  { mistake: 'a create from files that nobody has sent', at: ['/api/create'], body: { model: 'new', files: { 'a.gguf': `sha256:${'a'.repeat(64)}` } }, status: 400, text: `blob sha256:${'a'.repeat(64)} is not here: send it before, to this gateway` },
  { mistake: 'a file that is a path', at: ['/api/create'], body: { model: 'new', files: { '/a.gguf': `sha256:${'a'.repeat(64)}` } }, status: 400, text: 'file path must be relative' },
  { mistake: 'a blob of another content', at: [`/api/blobs/sha256:${'a'.repeat(64)}`], body: 'bytes', status: 400, text: /^digest mismatch, expected "sha256:a{64}", got "sha256:[0-9a-f]{64}"$/ },
]

const request = (url: string, at: string, body: unknown) => {
  const [path = '', method = 'POST'] = at.split(' ').toReversed()
  return send(url + path, { method: method as 'POST' | 'DELETE', ...(body === '' ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }) })
}

test.for(ROWS.flatMap((row) => row.at.map((at) => ({ ...row, at }))))('$mistake at $at is a $status', async ({ at, body, status, text }, { site }) => {
  const answer = await request(site.url, at, body)
  expect([answer.status, errorTextOf('ollama.chat', answer)]).toEqual([status, typeof text === 'string' ? text : expect.stringMatching(text)])
})

test('an unknown option is no mistake', async ({ site }) => {
  const answer = await request(site.url, '/api/generate', { model: 'scripted', prompt: 'job=unknown tokens=2', stream: false, options: { zz: 1 } })
  expect([answer.status, answer.headers['x-drover-ignored']]).toEqual([200, 'options.zz'])
})

test('a blob that nobody has sent is not there', async ({ site }) => {
  for (const [digest, status] of [[`sha256:${'a'.repeat(64)}`, 404], [`sha256-${'a'.repeat(64)}`, 404], ['sha256:12', 400]] as const)
    expect([digest, (await send(`${site.url}/api/blobs/${digest}`, { method: 'HEAD' })).status]).toEqual([digest, status])
})

/** What only an engine can find; its status and text come through as they are. */
const REFUSED = [
  [400, '"refuses" does not support thinking'],
  [400, '"refuses" does not support chat'],
  [400, '"refuses" does not support generate'],
  [400, 'registry.ollama.ai/library/refuses:latest does not support tools'],
  [400, 'registry.ollama.ai/library/refuses:latest does not support insert'],
  [400, 'the prompt is longer than the context length currently available to the model; shorten the prompt'],
  [400, '{"error":{"code":400,"message":"a grammar that cannot be read","type":"invalid_request_error"}}'],
] as const

test.for(REFUSED.flatMap(([status, error]) => TALK.map((at) => ({ status, error, at }))))('what the engine refuses at $at comes through: $error', async ({ status, error, at }, { site }) => {
  const prompt = JSON.stringify({ status, error })
  const answer = await request(site.url, at, { model: 'refuses', prompt, messages: [{ role: 'user', content: prompt }] })
  expect([answer.status, errorTextOf('ollama.chat', answer)]).toEqual([status, error])
})

// The last attempt's status and text; `engine_failed` is tried again on the way there.
test.for([
  ['fails:a', 500, 'model failed to load, this model may be incompatible with your version of Ollama'],
  ['fails:b', 500, 'model runner has unexpectedly stopped, this may be due to resource limitations or an internal error'],
] as const)('what the engine fails of comes through when every attempt has: %s, %s %s', async ([model, status, error], { site }) => {
  const answer = await request(site.url, '/api/generate', { model, prompt: JSON.stringify({ status, error }) })
  expect([answer.status, errorTextOf('ollama.chat', answer), answer.headers['x-drover-attempts']]).toEqual([status, error, '3'])
})

test('a runner that dies in mid-stream ends a stream that is not to be continued with an error line', async ({ site }) => {
  const told = ask(site.url, 'ollama.chat', { key: 'dies', script: { tokens: 30, stall_at: 5, error_at: 9 }, headers: { 'x-drover-resume': 'never' } })
  await told.tokens(5)
  await site.engine.admin.release('dies')
  expect(await told.told).toMatchObject({ status: 200, ended: false, error: 'an error was encountered while running the model: scripted failure', verdict: { ok: true, count: 9 } })
})

test('a full queue is a 503 that says so, and when to come again', async ({ drover, scripted }) => {
  const engine = await scripted()
  const gateway = await drover.gateway({ DROVER_LANE_LIMIT: '1' })
  await drover.worker('n', [engine.url], { gateway })
  const first = ask(gateway.url, 'ollama.chat', { key: 'q1', script: { tokens: 20, stall_at: 5 } })
  await until('the first runs', async () => (await engine.admin.job('q1')).running === 1)
  const second = ask(gateway.url, 'ollama.chat', { key: 'q2' })
  const third = async () => send(`${gateway.url}/api/generate`, { body: JSON.stringify({ model: 'scripted', prompt: 'job=q3 tokens=1', stream: false }) })
  await until('the second waits', async () => (await send(`${gateway.url}/api/status`, { method: 'GET' })).text.includes('"waiting":1'))
  const { status, text, headers } = await third()
  expect([status, JSON.parse(text), headers['retry-after']]).toEqual([503, { error: 'server busy, please try again.  maximum pending requests exceeded' }, expect.stringMatching(/^[1-9]\d*$/)])
  await engine.admin.release()
  await Promise.all([first.told, second.told])
})

// Named, for they cannot be shown from outside:
// - `request canceled` (499): whoever cancels has gone and reads no answer; that the engine stops is a test of the clients.
// - /api/embed and /api/embeddings have their rows beside their dialects.
