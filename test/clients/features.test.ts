import { expect } from 'vitest'
import { ollamaTurn, openAiTurn, startCannedEngine, type CannedEngine } from '../support/canned-engine.ts'
import { test as world } from '../support/world.ts'

const KINDS = ['ollama', 'llama-server'] as const
type Kind = (typeof KINDS)[number]
const MODELS = { ollama: 'on:ollama', 'llama-server': 'on:llama' } as const satisfies Record<Kind, string>

const test = world
  .extend('canned', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
    const started = {} as Record<Kind, CannedEngine>
    for (const kind of KINDS) started[kind] = await startCannedEngine(kind, MODELS[kind])
    onCleanup(async () => void (await Promise.all(Object.values(started).map((engine) => engine.close()))))
    const generated = { model: 'm', created_at: '2026-01-01T00:00:00Z', response: 'yes', done: true, done_reason: 'stop', prompt_eval_count: 7, eval_count: 3 }
    const text = { id: 'cmpl-1', object: 'text_completion', created: 1, model: 'm', choices: [{ text: 'yes', index: 0, finish_reason: 'stop' }] }
    for (const kind of KINDS) {
      started[kind].answers('/v1/chat/completions', { answer: openAiTurn({ text: 'yes' }) })
      started[kind].answers('/v1/completions', { answer: [text] })
    }
    started['llama-server'].answers('/infill', { answer: [{ index: 0, content: 'yes', stop: true, stop_type: 'eos', tokens_predicted: 3, tokens_evaluated: 7 }] })
    started.ollama.answers('/api/chat', { answer: ollamaTurn({ text: 'yes' }) })
    started.ollama.answers('/api/generate', { answer: [generated] })
    return started
  })
  .extend('site', { scope: 'file' }, async ({ house, canned }) => {
    const gateway = await house.gateway()
    await house.worker('n1', KINDS.map((kind) => canned[kind].url), { gateway })
    return gateway.url
  })

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII='
const URI = `data:image/png;base64,${PIXEL}`
const SCHEMA = { type: 'object', properties: { a: { type: 'string' } } }
const TOOLS = [{ type: 'function', function: { name: 'f', parameters: SCHEMA } }]
const GRAMMAR = 'root ::= "yes"'
const BOUND = { response_format: { type: 'json_schema', json_schema: { name: 'a', schema: SCHEMA } } }
const SHOWN = { role: 'user', content: [{ type: 'text', text: 'what?' }, { type: 'image_url', image_url: { url: URI } }] }
const does = (what: string) => (kind: Kind) => `registry.ollama.ai/library/${MODELS[kind]} does not support ${what}`

/** What the engine is to be asked, or else the text of the refusal. */
type Outcome = Record<string, unknown> | ((kind: Kind) => string)
interface Case {
  what: string
  path: string
  body: Record<string, unknown>
  ollama: Outcome
  llama: Outcome
}

const chat = { messages: [{ role: 'user', content: 'what?' }] }
const prompt = { prompt: 'what?' }
const native = (what: string, body: Record<string, unknown>, llama: Outcome): Case[] => [
  { what, path: '/api/chat', body: { ...chat, ...body }, ollama: body, llama },
  { what, path: '/api/generate', body: { ...prompt, ...body }, ollama: body, llama },
]
const openAi = (what: string, body: Record<string, unknown>, ollama: Outcome = body, llama: Outcome = body): Case => ({
  what, path: '/v1/chat/completions', body: { ...chat, ...body }, ollama, llama,
})

const INFILL = { input_prefix: 'what?', input_suffix: 'x' }

const CASES: Case[] = [
  ...native('thinking on', { think: true }, { chat_template_kwargs: { enable_thinking: true } }),
  ...native('thinking off', { think: false }, { chat_template_kwargs: { enable_thinking: false } }),
  ...native('an effort', { think: 'low' }, { chat_template_kwargs: { enable_thinking: true }, reasoning_effort: 'low' }),
  ...native('JSON', { format: 'json' }, { response_format: { type: 'json_object' } }),
  ...native('a schema', { format: SCHEMA }, { response_format: { type: 'json_schema', json_schema: { name: 'format', schema: SCHEMA } } }),
  ...native('log probabilities', { logprobs: true, top_logprobs: 2 }, { logprobs: true, top_logprobs: 2 }),
  ...native('sampling', { options: { temperature: 0, num_predict: 5, stop: ['x'] } }, { temperature: 0, max_tokens: 5, stop: ['x'] }),
  { what: 'tools', path: '/api/chat', body: { ...chat, tools: TOOLS }, ollama: { tools: TOOLS }, llama: { tools: TOOLS } },
  {
    what: 'images', path: '/api/chat', body: { messages: [{ role: 'user', content: 'what?', images: [PIXEL] }] },
    ollama: { messages: [{ role: 'user', content: 'what?', images: [PIXEL] }] }, llama: { messages: [SHOWN] },
  },
  { what: 'images', path: '/api/generate', body: { ...prompt, images: [PIXEL] }, ollama: { images: [PIXEL] }, llama: { messages: [SHOWN] } },
  { what: 'a suffix', path: '/api/generate', body: { ...prompt, suffix: 'x' }, ollama: { suffix: 'x' }, llama: INFILL },
  { what: 'a raw prompt with a suffix', path: '/api/generate', body: { ...prompt, raw: true, suffix: 'x' }, ollama: { raw: true, suffix: 'x' }, llama: does('insert') },
  { what: 'a template', path: '/api/generate', body: { ...prompt, template: 'x' }, ollama: { template: 'x' }, llama: does('template') },
  { what: 'a raw prompt', path: '/api/generate', body: { ...prompt, raw: true }, ollama: { raw: true, prompt: 'what?' }, llama: { prompt: 'what?' } },
  {
    what: 'a raw prompt with images', path: '/api/generate', body: { ...prompt, raw: true, images: [PIXEL] },
    ollama: { raw: true, images: [PIXEL] }, llama: does('images in raw mode'),
  },
  openAi('tools', { tools: TOOLS, tool_choice: 'auto' }),
  openAi('images', { messages: [SHOWN] }),
  openAi('an effort', { reasoning_effort: 'low' }),
  openAi('reasoning', { reasoning: { effort: 'low' } }, { reasoning: { effort: 'low' } }, { reasoning_effort: 'low' }),
  openAi('a schema', BOUND),
  openAi('a grammar', { grammar: GRAMMAR }, does('grammar')),
  openAi('log probabilities', { logprobs: true, top_logprobs: 2 }),
  openAi('two answers', { n: 2 }),
  openAi('the newer limit', { max_completion_tokens: 5 }, { max_tokens: 5 }, { max_tokens: 5 }),
  openAi('the newer limit before the older', { max_tokens: 9, max_completion_tokens: 5 }, { max_tokens: 5 }, { max_tokens: 5 }),
  openAi('a temperature', { temperature: 0, top_p: 0.5 }),
  openAi('a seed and stops', { seed: 7, stop: ['x'] }),
  { what: 'a suffix', path: '/v1/completions', body: { ...prompt, suffix: 'x' }, ollama: { suffix: 'x' }, llama: INFILL },
  { what: 'a grammar', path: '/v1/completions', body: { ...prompt, grammar: GRAMMAR }, ollama: does('grammar'), llama: { grammar: GRAMMAR } },
  { what: 'log probabilities', path: '/v1/completions', body: { ...prompt, logprobs: 2 }, ollama: { logprobs: true, top_logprobs: 2 }, llama: { logprobs: 2 } },
  { what: 'two answers', path: '/v1/completions', body: { ...prompt, n: 2 }, ollama: { n: 2 }, llama: { n: 2 } },
]

const post = async (url: string, path: string, body: object) => {
  const answer = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) })
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
}

const errorOf = ({ error }: Record<string, unknown>) => (typeof error === 'object' && error !== null && 'message' in error ? error.message : error)

const textOf = (path: string, body: Record<string, unknown>): unknown => {
  if (path.startsWith('/api')) return path === '/api/chat' ? (body['message'] as { content: string }).content : body['response']
  const [choice] = body['choices'] as { text?: string; message?: { content: string } }[]
  return choice?.text ?? choice?.message?.content
}

const ALL = CASES.flatMap(({ ollama, llama, ...each }) => [{ ...each, kind: 'ollama' as const, outcome: ollama }, { ...each, kind: 'llama-server' as const, outcome: llama }])

test.for(ALL)('$what at $path on $kind', async ({ kind, path, body, outcome }, { site, canned }) => {
  const engine = canned[kind]
  const before = engine.seen.length
  const answer = await post(site, path, { model: MODELS[kind], stream: false, ...body })
  if (typeof outcome === 'function') {
    expect({ status: answer.status, error: errorOf(answer.body) }).toEqual({ status: 400, error: outcome(kind) })
    expect(engine.seen).toHaveLength(before)
  } else {
    expect(answer).toMatchObject({ status: 200 })
    expect(textOf(path, answer.body)).toBe('yes')
    expect(engine.seen.at(-1)?.body).toMatchObject(outcome)
  }
})

test.for(KINDS)('sampling that a client leaves open is not made up on the way to %s', async (kind, { site, canned }) => {
  for (const [path, body] of [['/api/chat', chat], ['/api/generate', prompt], ['/v1/chat/completions', chat], ['/v1/completions', prompt]] as const) {
    await post(site, path, { model: MODELS[kind], stream: false, ...body })
    const asked = canned[kind].seen.at(-1)?.body ?? {}
    for (const name of ['temperature', 'top_p', 'seed', 'max_tokens']) expect(asked).not.toHaveProperty(name)
    expect(asked['options'] ?? {}).not.toHaveProperty('temperature')
  }
})

test('a client’s keep_alive and load-time options are the node’s to say: no request makes an Ollama load its model again', async ({ site, canned }) => {
  const plain = { model: MODELS.ollama, stream: false, ...prompt }
  await post(site, '/api/generate', plain)
  const own = canned.ollama.seen.at(-1)?.body ?? {}
  await post(site, '/api/generate', { ...plain, keep_alive: '3s', options: { num_ctx: 777, num_gpu: 1, temperature: 0.5 } })
  const body = canned.ollama.seen.at(-1)?.body ?? {}
  expect(body['keep_alive']).toEqual(own['keep_alive'])
  expect(body['options']).toEqual({ ...(own['options'] as object), temperature: 0.5 })
})

test.for([
  { path: '/api/chat', body: {}, said: { message: { role: 'assistant', content: '' } } },
  { path: '/api/generate', body: {}, said: { response: '' } },
])('$path without anything to answer loads, and with keep_alive 0 unloads', async ({ path, body, said }, { site, canned }) => {
  for (const keep of [undefined, 0, '0s']) {
    const reason = keep === undefined ? 'load' : 'unload'
    canned.ollama.answers(path, { answer: { model: 'm', created_at: '2026-01-01T00:00:00Z', ...said, done: true, done_reason: reason } })
    for (const kind of KINDS) {
      const before = canned[kind].seen.length
      const answer = await post(site, path, { model: MODELS[kind], keep_alive: keep, ...body })
      expect(answer).toMatchObject({ status: 200, body: { model: MODELS[kind], done: true, done_reason: reason, ...said } })
      // A llama-server has its one model in memory all the time: nothing is asked of it.
      expect(canned[kind].seen.length - before).toBe(kind === 'ollama' ? 1 : 0)
    }
    if (keep !== undefined) expect(canned.ollama.seen.at(-1)?.body).toMatchObject({ keep_alive: 0, stream: false })
  }
})

const REFUSALS = {
  ollama: { error: 'registry.ollama.ai/library/m:latest does not support tools' },
  'llama-server': { error: { code: 500, message: 'image input is not supported - hint: if this is unexpected, you may need to provide the mmproj', type: 'server_error' } },
} satisfies Record<Kind, object>

test.for(KINDS.flatMap((kind) => [true, false].map((stream) => ({ kind, stream }))))(
  'what $kind cannot do comes back in its own words in each dialect (streamed: $stream)',
  async ({ kind, stream }, { site, canned }) => {
    const status = kind === 'ollama' ? 400 : 500
    const said = errorOf(REFUSALS[kind] as Record<string, unknown>)
    for (const path of ['/api/chat', '/api/generate', '/v1/chat/completions', '/v1/completions']) canned[kind].answers(path, { status, answer: REFUSALS[kind] })
    for (const [path, body] of [['/api/chat', chat], ['/api/generate', prompt], ['/v1/chat/completions', chat], ['/v1/completions', prompt]] as const) {
      const answer = await post(site, path, { model: MODELS[kind], stream, ...body })
      expect({ path, status: answer.status, error: errorOf(answer.body) }).toEqual({ path, status: 400, error: said })
    }
  },
)
