import { zstdCompressSync } from 'node:zlib'
import { OpenAI } from 'openai'
import { expect } from 'vitest'
import { until } from '../support/drover.ts'
import { send, smallest } from '../support/raw.ts'
import { test as world } from '../support/world.ts'

const DEEP = 'hf.co/some-one/a-model:q4_k_m'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const native = await engines({
    models: ['native:8b', { name: DEEP, family: 'qwen3', contextLength: 40_960, capabilities: ['completion', 'tools'] }, 'Twice'],
  })
  const second = await engines({ models: ['twice'] })
  const other = await engines({ kind: 'llama-server', models: ['other'] })
  const gateway = await house.gateway({ DROVER_BODY_LIMIT: '64mb' })
  await house.worker('n1', [native.url, other.url], { gateway, env: { DROVER_KEEP_ALIVE: '7m' } })
  await house.worker('n2', [second.url], { gateway })
  const get = async (path: string, method: 'GET' | 'HEAD' | 'DELETE' | 'PUT' = 'GET', headers: Record<string, string> = {}) => send(gateway.url + path, { method, headers })
  const post = async (path: string, body: unknown, headers: Record<string, string> = {}) => {
    const answer = await send(gateway.url + path, { body: JSON.stringify(body), headers })
    return { ...answer, json: JSON.parse(answer.text) as Record<string, unknown> }
  }
  // What an engine says of its models is asked for once it is known that it has them.
  await until('the models are described', async () => String((await post('/api/show', { model: DEEP })).json['parameters']).includes('stop'))
  return { url: gateway.url, engine: native, get, post }
})

test('show tells of a model what its own engine says of it', async ({ site }) => {
  const { status, headers, json } = await site.post('/api/show', { model: DEEP.toUpperCase(), verbose: true })
  expect([status, headers['content-type']]).toEqual([200, 'application/json'])
  expect(json).toMatchObject({
    modelfile: `FROM ${DEEP}\n`,
    details: { format: 'gguf', family: 'qwen3', families: ['qwen3'], parameter_size: '8.0B', quantization_level: 'Q4_K_M' },
    model_info: { 'general.architecture': 'qwen3', 'qwen3.context_length': 40_960, 'qwen3.block_count': 32, 'general.basename': DEEP },
    tensors: [],
    capabilities: ['completion', 'tools'],
    modified_at: '2026-01-02T03:04:05.678901234Z',
  })
  expect(String(json['parameters']).split('\n')[0]).toMatch(/^stop {27}"<\|end\|>"$/)
  expect(json['template']).toContain('.Suffix')
})

test('show takes the older name of its field, and knows a model by its short name', async ({ site }) => {
  const wanted = await site.post('/api/show', { model: 'twice:latest' })
  for (const body of [{ name: 'twice' }, { name: 'Twice:latest' }, { model: 'library/twice' }]) expect((await site.post('/api/show', body)).json).toEqual(wanted.json)
})

test('show tells of a llama-server’s model what that server tells', async ({ site }) => {
  await until('the llama-server has described its model', async () => (await site.post('/api/show', { model: 'other' })).json['parameters'] !== '')
  const { json } = await site.post('/api/show', { model: 'other' })
  const info = json['model_info'] as Record<string, unknown>
  const architecture = String(info['general.architecture'])
  expect(info[`${architecture}.context_length`]).toBeGreaterThan(0)
  expect(json).toMatchObject({ capabilities: expect.arrayContaining(['completion']) as string[], parameters: expect.stringMatching(/^num_ctx +\d+$/) as string })
})

test('show names a model by its whole name where Copilot asks', async ({ site }) => {
  const { json } = await site.post('/api/show', { model: 'native:8b' }, { 'user-agent': 'GitHubCopilotChat/0.30' })
  expect(json['model_info']).toMatchObject({ 'general.basename': 'native:8b' })
})

test('what an engine says of its models goes when no node holds them any more, and comes back with them', async ({ drover, scripted }) => {
  const engine = await scripted({ models: ['here'] })
  const gateway = await drover.gateway()
  await drover.worker('n', [engine.url], { gateway })
  const shown = () => send(`${gateway.url}/api/show`, { body: JSON.stringify({ model: 'later' }) })
  expect((await shown()).status).toBe(404)
  await engine.admin.models([{ name: 'later', capabilities: ['completion', 'vision'] }])
  await until('it is described', async () => (await shown()).text.includes('<|end|>'))
  expect(JSON.parse((await shown()).text)).toMatchObject({ capabilities: ['completion', 'vision'] })
  await engine.admin.models(['here'])
  await until('it is gone', async () => (await shown()).status === 404)
})

interface Listed { name: string; model: string; digest: string; details: Record<string, unknown>; expires_at?: string; modified_at?: string }

test('models of several nodes are listed once each, with digests that can be cut', async ({ site }) => {
  const { models } = JSON.parse((await site.get('/api/tags')).text) as { models: Listed[] }
  expect(models.map(({ name }) => name).toSorted()).toEqual([DEEP, 'native:8b', 'other:latest', 'twice:latest'])
  for (const { name, model, digest, modified_at: at } of models) {
    expect([name, digest]).toEqual([model, expect.stringMatching(/^[0-9a-f]{64}$/)])
    expect(Date.parse(at ?? '')).not.toBeNaN()
  }
  expect(models.find(({ name }) => name === DEEP)).toMatchObject({
    size: 4_000_000_000,
    details: { parent_model: '', format: 'gguf', family: 'qwen3', families: ['qwen3'], parameter_size: '8.0B', quantization_level: 'Q4_K_M', context_length: 40_960 },
    capabilities: ['completion', 'tools'],
  })
})

test('what is in memory is listed with where it lies and until when', async ({ site }) => {
  await site.post('/api/generate', { model: 'native:8b', prompt: '' })
  const ps = async () => (JSON.parse((await site.get('/api/ps')).text) as { models: Listed[] }).models
  await until('it is listed', async () => (await ps()).some(({ name }) => name === 'native:8b'))
  const native = (await ps()).find(({ name }) => name === 'native:8b')
  expect(native).toMatchObject({ model: 'native:8b', digest: expect.stringMatching(/^[0-9a-f]{64}$/) as string, size: 4_000_000_000, size_vram: 4_000_000_000, context_length: 8192, details: { family: 'llama' } })
  expect(Date.parse(native?.expires_at ?? '')).toBeGreaterThan(Date.now())
})

test('a model is found under /v1/models by its whole name, slashes written either way', async ({ site }) => {
  const encoded = encodeURIComponent(DEEP)
  for (const id of [DEEP, encoded, encoded.replaceAll('%3A', ':')]) {
    const { status, text } = await site.get(`/v1/models/${id}`)
    expect([status, JSON.parse(text)]).toEqual([200, { id: DEEP, object: 'model', created: 1_767_323_045, owned_by: 'hf.co/some-one' }])
  }
  const client = new OpenAI({ baseURL: `${site.url}/v1`, apiKey: 'unused' })
  expect(await client.models.retrieve(DEEP)).toMatchObject({ id: DEEP })
  expect(await client.models.retrieve('twice')).toMatchObject({ id: 'twice', owned_by: 'library' })
  const unknown = await site.get('/v1/models/no/body:1')
  expect([unknown.status, JSON.parse(unknown.text)]).toEqual([404, { error: { message: "model 'no/body:1' not found", type: 'not_found_error', param: null, code: null } }])
})

test('where Ollama would ask its maker, Drover says that nobody is signed in', async ({ site }) => {
  expect(await site.post('/api/me', {})).toMatchObject({ status: 401, json: { error: 'unauthorized', signin_url: '' } })
  expect(await site.post('/api/signout', {})).toMatchObject({ status: 401, json: { error: 'you are not currently signed in' } })
  expect((await site.get('/api/user/keys/abc', 'DELETE')).status).toBe(401)
  expect(JSON.parse((await site.get('/api/experimental/model-recommendations')).text)).toEqual({ recommendations: [] })
  expect(JSON.parse((await site.get('/api/status')).text)).toMatchObject({ cloud: { disabled: true, source: 'none' } })
})

test.for(['/', '/api/version', '/api/tags'])('HEAD %s is answered without a body', async (path, { site }) => {
  const { status, text } = await site.get(path, 'HEAD')
  expect([status, text]).toEqual([200, ''])
})

test.for(['/api/ps', '/api/status', '/v1/models', '/api/chat', '/v1/models/native:8b'])('HEAD %s is a wrong method', async (path, { site }) => {
  const { status, headers } = await site.get(path, 'HEAD')
  expect([status, String(headers['allow']).split(', ')]).toEqual([405, [path === '/api/chat' ? 'POST' : 'GET']])
})

test.for([
  ['GET', '/api/chat', 'POST'], ['GET', '/api/show', 'POST'], ['GET', '/api/delete', 'DELETE'], ['DELETE', '/v1/models/a/b', 'GET'], ['PUT', '/api/blobs/sha256:0', 'POST, HEAD'],
  ['PUT', '/api/version', 'GET, HEAD'], ['GET', '/v1/embeddings', 'POST'],
] as const)('%s %s is a wrong method, and the right one is named', async ([method, path, allow], { site }) => {
  const { status, text, headers } = await site.get(path, method)
  expect([status, text, headers['allow']]).toEqual([405, '405 method not allowed', allow])
  expect(headers['content-type']).toMatch(/^text\/plain/)
})

test.for(['/nothing', '/api', '/api/tokenize', '/health', '/v1/responses/resp_1/events', '//nothing', '/%', '/api/chat/x', '/api/chat//'])('%s is no path', async (path, { site }) => {
  const { status, text, headers } = await site.get(path)
  expect([status, text]).toEqual([404, '404 page not found'])
  expect(headers['content-type']).toMatch(/^text\/plain/)
})

test('a slash too many at the end leads to the path without it, and keeps the query', async ({ site }) => {
  const tags = await site.get('/api/tags/?a=1&b=%2F')
  expect([tags.status, tags.headers['location']]).toEqual([301, '/api/tags?a=1&b=%2F'])
  const chat = await send(`${site.url}/api/chat/`, { body: '{}' })
  expect([chat.status, chat.headers['location']]).toEqual([307, '/api/chat'])
  expect((await site.get('/api/version/', 'HEAD')).status).toBe(307)
  // A client that follows gets what it asked for.
  const followed = await fetch(`${site.url}/api/generate/`, { method: 'POST', body: JSON.stringify({ model: 'native:8b', prompt: 'job=slash tokens=3', stream: false }) })
  expect([followed.status, ((await followed.json()) as { done: boolean }).done]).toEqual([200, true])
  // Elsewhere is never led to.
  const away = await send(`${site.url}//evil.test/`, { method: 'GET' })
  expect([away.status, away.headers['location']]).toEqual([404, undefined])
})

test('a base URL that ends in a slash leads to the same path', async ({ site }) => {
  const tags = await site.get('//api/tags?a=1')
  expect([tags.status, tags.headers['location']]).toEqual([307, '/api/tags?a=1'])
  const followed = await fetch(`${site.url}//api/generate`, { method: 'POST', body: JSON.stringify({ model: 'native:8b', prompt: 'job=slashes tokens=3', stream: false }) })
  expect([followed.status, ((await followed.json()) as { done: boolean }).done]).toEqual([200, true])
  expect((await send(`${site.url}//api/tags`, { body: '{}' })).status).toBe(404)
})

test('a preflight allows every header that clients of the three APIs send', async ({ site }) => {
  const origin = 'http://localhost:5173'
  const { status, headers, text } = await send(`${site.url}/v1/chat/completions`, {
    method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-stainless-os, X-Own-Thing' },
  })
  expect([status, text]).toEqual([204, ''])
  const allowed = String(headers['access-control-allow-headers']).split(', ')
  for (const name of ['authorization', 'content-type', 'user-agent', 'accept', 'x-requested-with', 'openai-beta', 'x-stainless-os', 'x-stainless-retry-count', 'x-own-thing', 'anthropic-version'])
    expect(allowed).toContain(name)
  expect(String(headers['access-control-allow-methods']).split(', ').toSorted()).toEqual(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT'])
  expect(headers).not.toHaveProperty('access-control-allow-credentials')
  // Bound to loopback, an OPTIONS that passes the look at its host is answered without an origin, too.
  expect((await send(`${site.url}/api/tags`, { method: 'OPTIONS' })).status).toBe(204)
})

test.for(['app://x', 'file://', 'tauri://localhost', 'vscode-webview://abc', 'vscode-file://vscode-app', 'chrome-extension://abc', 'moz-extension://abc', 'https://0.0.0.0:8443'])(
  'a page from %s may ask', async (origin, { site }) => {
    const { status, headers } = await send(`${site.url}/api/tags`, { method: 'GET', headers: { origin } })
    expect([status, headers['access-control-allow-origin']]).toEqual([200, origin])
  },
)

const chat = (key: string, fields: Record<string, unknown> = {}) => Buffer.from(JSON.stringify({ ...smallest('openai.chat', `job=${key} tokens=3`, fields), model: 'native:8b' }))
const zstd = { 'content-encoding': 'zstd' }

test('a body compressed with zstd is read on /v1', async ({ site }) => {
  const whole = await send(`${site.url}/v1/chat/completions`, { body: zstdCompressSync(chat('z1')), headers: zstd })
  expect([whole.status, JSON.parse(whole.text)]).toEqual([200, expect.objectContaining({ object: 'chat.completion' })])
  const large = await send(`${site.url}/v1/chat/completions`, { body: zstdCompressSync(chat('z2', { padding: 'x'.repeat(8 * 1024 * 1024) })), headers: zstd })
  expect([large.status, large.headers['x-drover-ignored']]).toEqual([200, 'padding'])
})

test('a body that would grow beyond 20 MiB is refused without growing', async ({ site }) => {
  const bomb = zstdCompressSync(Buffer.alloc(128 * 1024 * 1024))
  expect(bomb.length).toBeLessThan(200_000)
  const answers = await Promise.all(Array.from({ length: 3 }, () => send(`${site.url}/v1/chat/completions`, { body: bomb, headers: zstd })))
  for (const { status, text } of answers) {
    expect(status).toBe(413)
    expect(JSON.parse(text)).toMatchObject({ error: { message: 'the request body is larger than 20971520 bytes when inflated' } })
  }
  expect((await send(`${site.url}/v1/chat/completions`, { body: zstdCompressSync(chat('z3')), headers: zstd })).status).toBe(200)
})

test('what only says that it is compressed, is cut short or is compressed otherwise is refused', async ({ site }) => {
  const path = `${site.url}/v1/chat/completions`
  const refused = async (body: Buffer, encoding: string, where = path) => {
    const { status, text } = await send(where, { body, headers: { 'content-encoding': encoding } })
    return [status, text]
  }
  expect(await refused(chat('z4'), 'zstd')).toEqual([400, expect.stringContaining('not valid zstd')])
  const cut = zstdCompressSync(chat('z5', { padding: 'abc' }))
  expect((await refused(cut.subarray(0, cut.length - 8), 'zstd'))[0]).toBe(400)
  for (const encoding of ['gzip', 'br', 'zstd, zstd', 'x'.repeat(200)]) expect(await refused(chat('z6'), encoding)).toEqual([415, expect.stringContaining('send the body as it is, or compressed with zstd')])
  expect(await refused(zstdCompressSync(chat('z7')), 'zstd', `${site.url}/api/chat`)).toEqual([415, expect.stringContaining('send the body as it is')])
  expect((await refused(chat('z8'), 'identity'))[0]).toBe(200)
})

test('the keys that OLOL’s clients read', async ({ site }) => {
  const read = async (path: string) => JSON.parse((await site.get(path)).text) as Record<string, Record<string, Record<string, unknown>>>
  const servers = await read('/api/servers')
  expect(servers).toMatchObject({ count: 2, servers: { n1: { load: 0, healthy: true }, n2: { load: 0, healthy: true, capabilities: { models: ['twice:latest'] } } } })
  const models = await read('/api/models')
  expect(models).toMatchObject({ count: 4, models: { 'twice:latest': { servers: ['n1', 'n2'], details: { family: 'llama' }, context: { max: 8192 } }, 'other:latest': { servers: ['n1'] } } })
  expect(await read('/api/status')).toMatchObject({
    servers: { n1: { healthy: true, model_count: 4 }, n2: { healthy: true, model_count: 1 } }, server_count: 2, healthy_server_count: 2, model_count: 4, sessions: 0,
  })
})
