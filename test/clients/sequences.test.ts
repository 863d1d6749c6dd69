import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { until } from '../support/drover.ts'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { send, type RawAnswer } from '../support/raw.ts'
import { test as world } from '../support/world.ts'

/**
 * What well-known clients call, in their order and with their bodies, and what each depends on in the answers (read from their sources;
 * the contract page lists them). Over an Ollama, and over a real llama-server.
 */
const SMALL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))
const KINDS = skipsWithoutLlamaServer() ? (['ollama'] as const) : (['ollama', 'llama-server'] as const)
type Kind = (typeof KINDS)[number]

interface Shown {
  details: { family: string; parameter_size: string }
  model_info: Record<string, unknown>
  capabilities: string[]
  parameters: string
  template: string
}
interface Listed {
  models: { name: string; model: string; digest: string; size: number; modified_at: string; expires_at: string; details: { family: string } }[]
}
interface Part {
  model: string
  message?: { role: string; content: string }
  response?: string
  done: boolean
  done_reason?: string
  eval_count?: number
  total_duration?: number
}

const json = <T>({ text }: RawAnswer): T => JSON.parse(text) as T
const lines = ({ text }: RawAnswer): Part[] => text.trimEnd().split('\n').map((line) => JSON.parse(line) as Part)

const test = world
  .extend('llama', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    if (skipsWithoutLlamaServer()) return undefined
    const server = await startLlamaServer({ model: SMALL, alias: 'drover-small', slots: 2 })
    onCleanup(() => server.stop())
    return server
  })
  .extend('site', { scope: 'file' }, async ({ house, engines, llama }) => {
    const engine = await engines({ models: [{ name: 'native:8b', capabilities: ['completion', 'tools', 'insert'] }, 'aside'], slots: 4 })
    const gateway = await house.gateway()
    await house.worker('n1', [{ url: engine.url, slots: 4 }, ...(llama ? [llama.url] : [])], { gateway })
    const models: Record<Kind, string> = { ollama: 'native:8b', 'llama-server': 'drover-small:latest' }
    const call = (method: 'GET' | 'HEAD' | 'POST' | 'DELETE', path: string, body?: unknown, headers: Record<string, string> = {}) =>
      send(gateway.url + path, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
    for (const kind of KINDS)
      await until(`${kind} has described its model`, async () => json<Shown>(await call('POST', '/api/show', { model: models[kind] })).parameters !== '')
    return { url: gateway.url, engine, models, call }
  })

const stream = async (answer: RawAnswer): Promise<Part[]> => {
  expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/x-ndjson'])
  const parts = lines(answer)
  expect(parts.filter(({ done }) => done)).toHaveLength(1)
  expect(parts.at(-1)).toMatchObject({ done: true, done_reason: expect.stringMatching(/^(stop|length)$/) as string, eval_count: expect.any(Number) as number, total_duration: expect.any(Number) as number })
  expect(parts.some(({ message, response }) => (message?.content ?? response ?? '') !== '')).toBe(true)
  return parts
}

const say = (content: string) => [{ role: 'user', content }]
const OPTIONS = { num_predict: 8, temperature: 0 }

test.for(KINDS)('the ollama command: list, show, run, ps, stop over %s', async (kind, { site: { call, models } }) => {
  const model = models[kind]
  const alive = async () => expect((await call('HEAD', '/')).status).toBe(200)
  await alive()
  expect(json<{ version: string }>(await call('GET', '/api/version')).version).toMatch(/^\d+\.\d+\.\d+/)
  // It cuts digests at fixed places, without a look at their length.
  const { models: listed } = json<Listed>(await call('GET', '/api/tags'))
  for (const { digest } of listed) expect(digest.slice(0, 12)).toMatch(/^[0-9a-f]{12}$/)
  expect(listed.map(({ name }) => name)).toContain(model)
  await alive()
  const shown = await call('POST', '/api/show', { model })
  expect(shown.status).toBe(200)
  expect(json<Shown>(shown).capabilities).toContain('completion')
  // An empty generate loads the model, then it chats.
  expect(json<Part>(await call('POST', '/api/generate', { model, prompt: '' }))).toMatchObject({ model, done: true, done_reason: 'load' })
  const parts = await stream(await call('POST', '/api/chat', { model, messages: say('job=cli tokens=8 Hello!'), options: OPTIONS, think: undefined }))
  expect(new Set(parts.map((part) => part.model))).toEqual(new Set([model]))
  await alive()
  await until('it is in memory', async () => json<Listed>(await call('GET', '/api/ps')).models.some(({ name }) => name === model))
  for (const each of json<Listed>(await call('GET', '/api/ps')).models) {
    expect(each.digest.slice(0, 12)).toHaveLength(12)
    expect(Date.parse(each.expires_at)).toBeGreaterThan(Date.now())
  }
  await call('POST', '/api/show', { model })
  expect(json<Part>(await call('POST', '/api/generate', { model, prompt: '', keep_alive: 0 }))).toMatchObject({ done: true, done_reason: 'unload' })
})

test('the ollama command: run with a model that nobody holds, and what it asks of an account', async ({ site: { call } }) => {
  const shown = await call('POST', '/api/show', { model: 'nobody' })
  expect([shown.status, json(shown)]).toEqual([404, { error: "model 'nobody:latest' not found" }])
  const pull = await call('POST', '/api/pull', { model: 'nobody' })
  expect([pull.status, pull.text]).toEqual([200, '{"status":"pulling manifest"}\n{"error":"pull model manifest: file does not exist"}\n'])
  expect(json(await call('GET', '/api/status'))).toMatchObject({ cloud: { disabled: true } })
  expect((await call('POST', '/api/me')).status).toBe(401)
  expect(json(await call('GET', '/api/experimental/model-recommendations'))).toEqual({ recommendations: [] })
  expect((await call('HEAD', `/api/blobs/sha256:${'0'.repeat(64)}`)).status).toBe(404)
})

test.for(KINDS)('Open WebUI: lists, chats and unloads over %s', async (kind, { site: { call, models } }) => {
  const model = models[kind]
  const headers = { 'x-openwebui-user-name': 'A', 'x-openwebui-user-id': '1', 'x-openwebui-chat-id': '2', authorization: 'Bearer ' }
  // Its own way of reading a version.
  const version = json<{ version: string }>(await call('GET', '/api/version', undefined, headers)).version
  expect(version.replace(/^v/, '').split('-')[0]?.split('.').map(Number).every(Number.isInteger)).toBe(true)
  const { models: listed } = json<Listed>(await call('GET', '/api/tags', undefined, headers))
  expect(listed.find((each) => each.model === model)).toMatchObject({ name: model, size: expect.any(Number) as number })
  const parts = await stream(await call('POST', '/api/chat', { model, messages: say('job=webui tokens=8 Hello!'), stream: true, options: OPTIONS, metadata: { a: 1 } }, headers))
  expect(parts[0]?.message?.role).toBe('assistant')
  const openai = await call('POST', '/v1/chat/completions', { model, messages: say('job=webui2 tokens=8 Hello!'), max_tokens: 8, stream: false }, headers)
  expect(json<{ choices: { message: { content: string } }[] }>(openai).choices[0]?.message.content).not.toBe('')
  await until('it is in memory', async () => json<Listed>(await call('GET', '/api/ps', undefined, headers)).models.some((each) => each.model === model))
  for (const { expires_at: at } of json<Listed>(await call('GET', '/api/ps', undefined, headers)).models) expect(new Date(at).getTime()).toBeGreaterThan(Date.now())
  expect(json<Part>(await call('POST', '/api/generate', { model, keep_alive: 0 }, headers))).toMatchObject({ done: true, done_reason: 'unload' })
  // It shows the text of an error's body, and of the last line of a pull.
  for (const [method, path, body, text] of [
    ['DELETE', '/api/delete', { name: 'nobody' }, "model 'nobody' not found"], ['POST', '/api/copy', { source: 'nobody', destination: 'y' }, 'model "nobody" not found'],
    ['POST', '/api/create', { model: 'z', files: { 'z.gguf': `sha256:${'0'.repeat(64)}` } }, expect.stringMatching(/^blob sha256:0{64} is not here/)],
  ] as const)
    expect([path, json<{ error: string }>(await call(method, path, body, headers)).error]).toEqual([path, text])
  const pull = await call('POST', '/api/pull', { name: 'x' }, headers)
  expect(pull.text.trimEnd().split('\n').map((line) => JSON.parse(line) as object)).toEqual([{ status: 'pulling manifest' }, { error: 'pull model manifest: file does not exist' }])
})

test.for(KINDS)('Copilot: looks every model up, then chats over %s', async (kind, { site: { call, models } }) => {
  const headers = { 'user-agent': 'GitHubCopilotChat/0.35.0' }
  const [major = 0, minor = 0, patch = 0] = json<{ version: string }>(await call('GET', '/api/version', undefined, headers)).version.split('.').map(Number)
  expect(major * 1e6 + minor * 1e3 + patch).toBeGreaterThanOrEqual(6_004)
  for (const { model } of json<Listed>(await call('GET', '/api/tags', undefined, headers)).models) {
    const shown = json<Shown>(await call('POST', '/api/show', { model }, headers))
    const architecture = shown.model_info['general.architecture']
    expect([model, typeof architecture, architecture]).not.toEqual([model, 'string', ''])
    expect(shown.model_info[`${String(architecture)}.context_length`]).toBeGreaterThan(0)
    expect(shown.model_info['general.basename']).toBe(model)
    expect(shown.capabilities.length).toBeGreaterThan(0)
    if (model === models[kind]) expect(shown.capabilities).toContain('tools')
  }
  const tools = [{ type: 'function', function: { name: 'look', description: 'Looks.', parameters: { type: 'object', properties: {} } } }]
  const answer = await call('POST', '/v1/chat/completions', { model: models[kind], messages: say('job=copilot tokens=8 Hello!'), tools, stream: true, n: 1, max_tokens: 8, temperature: 0.1, top_p: 1 }, headers)
  expect([answer.status, answer.headers['content-type']]).toEqual([200, 'text/event-stream'])
  expect(answer.text.endsWith('data: [DONE]\n\n')).toBe(true)
  expect(answer.text).toMatch(/"finish_reason":"(stop|length|tool_calls)"/)
})

test.for(KINDS)('Continue: reads parameters and template, chats, and completes over %s', async (kind, { site: { call, models } }) => {
  const model = models[kind]
  // Its base ends in a slash, so that paths have just one.
  const shown = json<Shown>(await call('POST', '/api/show', { name: model }))
  const parameters = shown.parameters.split('\n').map((line) => /^(\S+)\s+((?:".*")|\S+)$/.exec(line))
  expect(parameters.every((found) => found !== null)).toBe(true)
  if (kind === 'ollama') expect([parameters.some((found) => found?.[1] === 'stop'), shown.template.includes('.Suffix')]).toEqual([true, true])
  else expect(Number(parameters.find((found) => found?.[1] === 'num_ctx')?.[2])).toBeGreaterThan(0)
  await stream(await call('POST', '/api/chat', { model, messages: say('job=continue tokens=8 Hello!'), options: { ...OPTIONS, num_ctx: 4096, stop: ['<|x|>'] }, keep_alive: 1800, stream: true }))
  await stream(await call('POST', '/api/generate', { model, prompt: 'job=complete tokens=8 once upon', raw: true, options: OPTIONS, keep_alive: 1800, stream: true }))
  if (kind === 'ollama') await stream(await call('POST', '/api/generate', { model, prompt: 'job=suffix tokens=8 def', suffix: 'return', options: OPTIONS, keep_alive: 1800 }))
})

test.for(KINDS)('Home Assistant: validates, and chats with its own context length over %s', async (kind, { site: { call, models, engine } }) => {
  const model = models[kind]
  expect((await call('GET', '/api/tags')).status).toBe(200)
  const pull = await call('POST', '/api/pull', { model: 'nobody', stream: false })
  // 401 and 403 would ask for another key.
  expect([pull.status, json<{ error: string }>(pull).error]).toEqual([500, 'pull model manifest: file does not exist'])
  for (const [keepAlive, numCtx] of [[-1, 8192], ['300s', 2048]] as const) {
    const parts = await stream(await call('POST', '/api/chat', { model, messages: say('job=ha tokens=8 Hello!'), stream: true, options: { ...OPTIONS, num_ctx: numCtx }, keep_alive: keepAlive, tools: null, think: false }))
    expect(parts.every((part) => part.model === model)).toBe(true)
  }
  if (kind === 'ollama') expect((await engine.admin.stats()).last.at(-1)?.body).not.toContain('num_ctx')
})
