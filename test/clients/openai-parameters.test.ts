import OpenAI from 'openai'
import { expect } from 'vitest'
import { test as world } from '../support/world.ts'

/** `text` writes and fills gaps, `vectors` embeds, on each kind of engine. */
const test = world.extend('openai', { scope: 'file' }, async ({ house, engines }) => {
  const [text, vectors] = [['completion', 'insert', 'tools'], ['embedding']]
  const started = await Promise.all([
    engines({ kind: 'ollama', models: [{ name: 'text:on-ollama', capabilities: text }, { name: 'vectors:on-ollama', capabilities: vectors }] }),
    engines({ kind: 'llama-server', models: [{ name: 'text:on-llama', capabilities: text }] }),
    engines({ kind: 'llama-server', models: [{ name: 'vectors:on-llama', capabilities: vectors }] }),
  ])
  const gateway = await house.gateway()
  await house.worker('n1', started.map(({ url }) => url), { gateway })
  return new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'unused', maxRetries: 0 })
})

const KINDS = ['on-ollama', 'on-llama'] as const
const PARAMETERS = { type: 'object', properties: { place: { type: 'string' } } }
const CACHE = { prompt_cache_key: 'k', prompt_cache_options: { mode: 'implicit' as const, ttl: '30m' as const } }

const ignoredOf = (response: Response) => response.headers.get('x-drover-ignored')?.split(', ').toSorted()

test.for(KINDS)('a chat with every parameter of the API is answered (%s)', async (kind, { openai }) => {
  const { data, response } = await openai.chat.completions
    .create({
      model: `text:${kind}`,
      messages: [{ role: 'developer', name: 'dev', content: 'Be brief.' }, { role: 'user', content: 'job=p1 tokens=3' }],
      audio: { format: 'mp3', voice: 'echo' }, modalities: ['text'], prediction: { type: 'content', content: 'x' }, web_search_options: { search_context_size: 'high' },
      function_call: 'auto', functions: [{ name: 'old', parameters: PARAMETERS }],
      tools: [{ type: 'function', function: { name: 'look', parameters: PARAMETERS, strict: false } }], tool_choice: 'none', parallel_tool_calls: false,
      frequency_penalty: 1, presence_penalty: 2, logit_bias: { 7: -1 }, logprobs: true, top_logprobs: 1, temperature: 2, top_p: 0.5, seed: -5, stop: ['zz'], n: 1,
      max_tokens: 9, max_completion_tokens: 8, response_format: { type: 'text' }, reasoning_effort: 'high', verbosity: 'high', stream: false,
      metadata: { a: 'b' }, store: false, service_tier: 'default', safety_identifier: 's', user: 'u', moderation: { model: 'm' }, ...CACHE,
    })
    .withResponse()
  expect(data).toMatchObject({ object: 'chat.completion', model: `text:${kind}`, usage: { completion_tokens: 3 } })
  expect(ignoredOf(response)).toEqual([
    'audio', 'function_call', 'functions', 'metadata', 'modalities', 'moderation', 'prediction', 'prompt_cache_key', 'prompt_cache_options', 'safety_identifier',
    'service_tier', 'store', 'user', 'verbosity', 'web_search_options',
  ])
})

test.for(KINDS)('a completion with every parameter of the API is answered (%s)', async (kind, { openai }) => {
  const { data, response } = await openai.completions
    .create({
      model: `text:${kind}`, prompt: 'job=p2 tokens=3', suffix: 'end', best_of: 1, echo: true, frequency_penalty: 1, presence_penalty: 2, logit_bias: { 7: -1 }, logprobs: 1,
      max_tokens: 9, n: 1, seed: -5, stop: 'zz', stream: false, temperature: 2, top_p: 0.5, user: 'u',
    })
    .withResponse()
  expect(data).toMatchObject({ object: 'text_completion', model: `text:${kind}`, usage: { completion_tokens: 3 } })
  expect(ignoredOf(response)).toEqual(['best_of', 'echo', 'user'])
})

test.for(KINDS)('an embedding with every parameter of the API is answered (%s)', async (kind, { openai }) => {
  const { data, response } = await openai.embeddings
    .create({ model: `vectors:${kind}`, input: 'text', dimensions: 2, encoding_format: 'float', user: 'u' })
    .withResponse()
  expect(data.data[0]?.embedding).toHaveLength(2)
  expect(ignoredOf(response)).toEqual(['user'])
})

test.for(KINDS)('a response with every parameter of the API is answered, but for those that need what is not stored (%s)', async (kind, { openai }) => {
  const { data, response } = await openai.responses
    .create({
      model: `text:${kind}`, input: 'job=p3 tokens=3', instructions: 'Be brief.', stream: false,
      background: false, conversation: null, previous_response_id: null, prompt: null, store: true,
      context_management: [{ type: 'compaction', compact_threshold: 1_000 }], include: ['file_search_call.results'], max_output_tokens: 16, max_tool_calls: 1,
      metadata: { a: 'b' }, moderation: { model: 'm' }, parallel_tool_calls: false, reasoning: { effort: 'none', summary: 'concise' }, safety_identifier: 's',
      service_tier: 'flex', temperature: 2, text: { format: { type: 'text' }, verbosity: 'high' }, tool_choice: 'none',
      tools: [{ type: 'function', name: 'look', parameters: PARAMETERS, strict: false, defer_loading: false }, { type: 'web_search' }],
      top_logprobs: 0, top_p: 0.5, truncation: 'auto', user: 'u', ...CACHE,
    })
    .withResponse()
  expect(data).toMatchObject({
    object: 'response', status: 'completed', store: true, background: false, previous_response_id: null, metadata: { a: 'b' }, prompt_cache_key: 'k', safety_identifier: 's',
    truncation: 'disabled', service_tier: 'default', usage: { output_tokens: 3 },
  })
  expect(ignoredOf(response)).toEqual([
    'context_management', 'include.file_search_call.results', 'max_tool_calls', 'moderation', 'prompt_cache_options', 'service_tier', 'text.verbosity',
    'tools.web_search', 'truncation',
  ])
})

test.for([
  { conversation: 'conv_1' },
  { prompt: { id: 'pmpt_1' } },
])('a response with %j, which needs something stored, is refused', async (asked, { openai }) => {
  const refused = openai.responses.create({ model: 'text:on-llama', input: 'job=p4 tokens=3', ...asked })
  await expect(refused).rejects.toBeInstanceOf(OpenAI.BadRequestError)
  await expect(refused).rejects.toMatchObject({ error: { message: expect.stringMatching(`^${Object.keys(asked)[0]} is not supported: .* not stored`) as string } })
})

test('a response without a model, which only something stored could name, is refused', async ({ openai }) => {
  await expect(openai.responses.create({})).rejects.toMatchObject({ status: 400, error: { message: 'model is required', type: 'invalid_request_error' } })
})
