import { expect, test } from 'vitest'
import { ask, asked, engines } from './testing/conversation.ts'

const messages = [{ role: 'user', content: 'hello' }]
const TOOLS = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }]

test('an Ollama gets the client request with its own model name, streamed', () => {
  expect(asked('ollama.chat', { stream: false, body: { stream: false, think: 'low', tools: TOOLS, options: { seed: 1 } } })).toEqual({
    path: '/api/chat',
    body: { model: 'engine/model', stream: true, messages, think: 'low', tools: TOOLS, options: { seed: 1 } },
  })
})

test('what a model is loaded with follows the node, not the client', () => {
  const options = { num_ctx: 9, num_batch: 9, num_gpu: 9, main_gpu: 9, use_mmap: true, num_thread: 9, draft_num_predict: 9 }
  const body = { options: { ...options, top_k: 3 }, keep_alive: '1h', shift: false }
  expect(asked('ollama.generate', { body }).body).toEqual({ model: 'engine/model', stream: true, prompt: 'hello', options: { top_k: 3 } })
  expect(asked('ollama.generate', { body: { ...body, options }, policy: { keepAlive: -1, numCtx: 4096 } }).body).toEqual({
    model: 'engine/model',
    stream: true,
    prompt: 'hello',
    options: { num_ctx: 4096 },
    keep_alive: -1,
  })
})

test.each([0, '0', '0s', '-0m'])('unloading with keep_alive %j stays an unload on an Ollama', (keep_alive) => {
  const policy = { keepAlive: '10m' }
  expect(asked('ollama.generate', { body: { prompt: '', keep_alive }, policy }).body).toMatchObject({ keep_alive: 0, stream: false })
  expect(asked('ollama.chat', { body: { messages: [], keep_alive }, policy }).body).toMatchObject({ keep_alive: 0 })
  expect(asked('ollama.chat', { body: { keep_alive }, policy }).body).toMatchObject({ keep_alive: '10m' })
})

test('an engine that speaks OpenAI gets the request streamed with usage', () => {
  const body = { stream: false, stream_options: { include_usage: false }, n: 2, max_completion_tokens: 7, reasoning: { effort: 'low' } }
  const common = { model: 'engine/model', messages, n: 2, stream: true, stream_options: { include_usage: true }, max_tokens: 7 }
  expect(asked('openai.chat', { engine: engines.llama, stream: false, body })).toEqual({
    path: '/v1/chat/completions',
    body: { ...common, reasoning_effort: 'low' },
  })
  expect(asked('openai.chat', { body }).body).toEqual({ ...common, reasoning: { effort: 'low' } })
})

test('for a stream whose usage nobody wants, llama-server is asked what its own clients ask', () => {
  const { body } = asked('openai.chat', { engine: engines.llama })
  expect(body).toMatchObject({ stream: true })
  expect(body).not.toHaveProperty('stream_options')
  const wanted = { stream_options: { include_usage: true } }
  expect(asked('openai.chat', { engine: engines.llama, body: wanted }).body).toMatchObject(wanted)
  expect(asked('openai.chat').body).toMatchObject(wanted)
})

test('tools with log probabilities are one call on llama-server, and a stream elsewhere', () => {
  const body = { tools: TOOLS, logprobs: true }
  expect(asked('openai.chat', { engine: engines.llama, body }).body).toMatchObject({ stream: false })
  expect(asked('openai.chat', { engine: engines.llama, body }).body).not.toHaveProperty('stream_options')
  expect(asked('ollama.chat', { engine: engines.llama, body }).body).toMatchObject({ stream: false })
  expect(asked('openai.chat', { engine: engines.llama, body: { ...body, tools: [] } }).body).toMatchObject({ stream: true })
  expect(asked('openai.chat', { body }).body).toMatchObject({ stream: true })
})

test('native options become what llama-server calls them', () => {
  const options = {
    num_predict: 9, temperature: 0.5, top_k: 4, top_p: 0.3, min_p: 0.1, typical_p: 0.9, repeat_last_n: 32, repeat_penalty: 1.1,
    presence_penalty: 0.2, frequency_penalty: 0.3, seed: 2 ** 32 + 5, stop: ['x'], num_ctx: 1, num_keep: 4,
  }
  expect(asked('ollama.chat', { engine: engines.llama, body: { options, truncate: true, keep_alive: 5 } })).toEqual({
    path: '/v1/chat/completions',
    body: {
      model: 'engine/model', messages, stream: true, stream_options: { include_usage: true }, max_tokens: 9, temperature: 0.5, top_k: 4,
      top_p: 0.3, min_p: 0.1, typical_p: 0.9, repeat_last_n: 32, repeat_penalty: 1.1, presence_penalty: 0.2, frequency_penalty: 0.3,
      seed: 5, stop: ['x'],
    },
  })
})

test('what is open stays open: no default of Ollama is forced on llama-server', () => {
  const body = { options: { num_predict: -1, seed: -1 } }
  expect(asked('ollama.chat', { engine: engines.llama, body }).body).toEqual({
    model: 'engine/model', messages, stream: true, stream_options: { include_usage: true }, seed: -1,
  })
  expect(asked('ollama.chat', { engine: engines.llama, body: { options: { num_predict: -2 } } }).body).not.toHaveProperty('max_tokens')
})

test('"the whole context" for repetitions is a number on llama-server, which takes no other', () => {
  const body = { options: { repeat_last_n: -1 } }
  expect(asked('ollama.chat', { engine: engines.llama, body }).body).toMatchObject({ repeat_last_n: 32_768 })
  expect(asked('ollama.chat', { engine: engines.llama, body, policy: { numCtx: 2_048 } }).body).toMatchObject({ repeat_last_n: 2_048 })
})

test.each([
  [{ format: 'json' }, { response_format: { type: 'json_object' } }],
  [{ format: { type: 'array' } }, { response_format: { type: 'json_schema', json_schema: { name: 'format', schema: { type: 'array' } } } }],
  [{ think: false }, { chat_template_kwargs: { enable_thinking: false } }],
  [{ think: 'high' }, { chat_template_kwargs: { enable_thinking: true }, reasoning_effort: 'high' }],
  [{ logprobs: true }, { logprobs: true, top_logprobs: 1 }],
  [{ logprobs: true, top_logprobs: 3 }, { logprobs: true, top_logprobs: 3 }],
  [{ tools: TOOLS }, { tools: TOOLS }],
])('%j is said to llama-server as %j', (body, expected) => {
  expect(asked('ollama.chat', { engine: engines.llama, body }).body).toMatchObject(expected)
})

test('log probabilities that were not asked for are not asked of the engine', () => {
  const { body } = asked('ollama.chat', { engine: engines.llama, body: { top_logprobs: 3, format: '' } })
  expect(Object.keys(body)).toEqual(['model', 'stream', 'stream_options', 'messages'])
})

test('a native conversation with thoughts, images and tools becomes an OpenAI one', () => {
  const body = {
    messages: [
      { role: 'user', content: 'look', images: ['/9j/4AAQ'] },
      { role: 'assistant', content: '', thinking: 'hm', tool_calls: [{ function: { name: 'a', arguments: { x: 1 } } }, { id: 'k', function: { name: 'b' } }] },
      { role: 'tool', content: 'B', tool_name: 'b' },
      { role: 'tool', content: 'A' },
      { role: 'tool', content: 'lost' },
      { content: 'and' },
    ],
  }
  expect(asked('ollama.chat', { engine: engines.llama, body }).body['messages']).toEqual([
    {
      role: 'user',
      content: [
        { type: 'text', text: 'look' },
        { type: 'image_url', image_url: { url: 'data:image/jpeg;base64,/9j/4AAQ' } },
      ],
    },
    {
      role: 'assistant',
      content: '',
      reasoning_content: 'hm',
      tool_calls: [
        { id: 'call_1_0', type: 'function', function: { name: 'a', arguments: '{"x":1}' } },
        { id: 'k', type: 'function', function: { name: 'b', arguments: '{}' } },
      ],
    },
    { role: 'tool', content: 'B', tool_call_id: 'k', name: 'b' },
    { role: 'tool', content: 'A', tool_call_id: 'call_1_0', name: 'a' },
    { role: 'tool', content: 'lost', tool_call_id: 'call_4' },
    { role: 'user', content: 'and' },
  ])
})

test('a prompt becomes a conversation of one turn', () => {
  expect(asked('ollama.generate', { engine: engines.llama, body: { system: 'be brief', images: ['iVBORw0K'] } })).toMatchObject({
    path: '/v1/chat/completions',
    body: {
      messages: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: [{ type: 'text', text: 'hello' }, { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0K' } }] },
      ],
    },
  })
})

test('a raw prompt goes to the endpoint that has no template', () => {
  const body = { raw: true, options: { num_predict: 3 }, think: true, format: { type: 'object' }, logprobs: true, top_logprobs: 2 }
  expect(asked('ollama.generate', { engine: engines.llama, body })).toEqual({
    path: '/v1/completions',
    body: {
      model: 'engine/model', prompt: 'hello', stream: true, stream_options: { include_usage: true }, max_tokens: 3,
      json_schema: { type: 'object' }, logprobs: 2,
    },
  })
})

test.each([
  [{ suffix: 'x', images: ['aaaa'] }, 'registry.ollama.ai/library/asked:latest does not support images with a suffix'],
  [{ suffix: 'x', template: 'x' }, 'registry.ollama.ai/library/asked:latest does not support template'],
  [{ template: 'x' }, 'registry.ollama.ai/library/asked:latest does not support template'],
  [{ context: [1] }, 'registry.ollama.ai/library/asked:latest does not support context'],
  [{ raw: true, suffix: 'x' }, 'registry.ollama.ai/library/asked:latest does not support insert'],
  [{ raw: true, images: ['aaaa'] }, 'registry.ollama.ai/library/asked:latest does not support images in raw mode'],
])('llama-server cannot be asked for %j', (body, message) => {
  expect(() => ask('ollama.generate', { engine: engines.llama, body })).toThrow(
    expect.objectContaining({ code: 'engine_refused', status: 400, message }),
  )
  expect(() => ask('ollama.generate', { body })).not.toThrow()
})

test('empty suffix, template and context ask for nothing', () => {
  const body = { suffix: '', template: '', context: [], images: [] }
  expect(() => ask('ollama.generate', { engine: engines.llama, body })).not.toThrow()
})

test('an OpenAI request becomes a native one where the engine has nothing else', () => {
  const body = {
    messages: [
      { role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }, { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBO' } }] },
      { role: 'assistant', reasoning_content: 'hm', tool_calls: [{ id: 'k', type: 'function', function: { name: 'f', arguments: '{"x":1}' } }] },
      { role: 'tool', tool_call_id: 'k', content: 'sunny' },
    ],
    max_tokens: 5, temperature: 1, top_p: 0.5, seed: 3, stop: 'x', presence_penalty: 1, n: 2, tools: TOOLS, logprobs: true, top_logprobs: 2,
    reasoning_effort: 'xhigh', response_format: { type: 'json_schema', json_schema: { name: 'n', schema: { type: 'object' } } },
  }
  expect(asked('openai.chat', { engine: engines.native, body, policy: { keepAlive: '5m', numCtx: 512 } })).toEqual({
    path: '/api/chat',
    body: {
      model: 'engine/model',
      stream: true,
      messages: [
        { role: 'user', content: 'a\nb', images: ['iVBO'] },
        { role: 'assistant', content: '', thinking: 'hm', tool_calls: [{ id: 'k', function: { index: 0, name: 'f', arguments: { x: 1 } } }] },
        { role: 'tool', content: 'sunny', tool_call_id: 'k', tool_name: 'f' },
      ],
      options: { num_predict: 5, temperature: 1, top_p: 0.5, seed: 3, stop: ['x'], presence_penalty: 1, num_ctx: 512 },
      tools: TOOLS, logprobs: true, top_logprobs: 2, think: 'max', format: { type: 'object' }, keep_alive: '5m',
    },
  })
})

test.each([
  [{ response_format: { type: 'json_object' } }, { format: 'json' }],
  [{ reasoning: { effort: 'none' } }, { think: false }],
  [{ stop: ['a', 'b'] }, { options: { stop: ['a', 'b'] } }],
])('%j is said to an Ollama without /v1 as %j', (body, expected) => {
  expect(asked('openai.chat', { engine: engines.native, body }).body).toMatchObject(expected)
})

test('tools that must not be called are not shown to the model', () => {
  expect(asked('openai.chat', { engine: engines.native, body: { tools: TOOLS, tool_choice: 'none' } }).body).not.toHaveProperty('tools')
})

test('tool arguments that are no object cannot be said to an Ollama', () => {
  const body = { messages: [{ role: 'assistant', tool_calls: [{ id: 'k', function: { name: 'f', arguments: '{"x":' } }] }] }
  expect(() => ask('openai.chat', { engine: engines.native, body })).toThrow('invalid tool call arguments: not a JSON object')
})

test('an engine that speaks nothing useful is refused', () => {
  const engine = { ...engines.llama, speaks: [] }
  expect(() => ask('ollama.chat', { engine })).toThrow(expect.objectContaining({ code: 'engine_refused' }))
})

test('tools that must not be called are not shown to an Ollama with /v1 either; llama-server knows what is meant', () => {
  const body = { tools: TOOLS, tool_choice: 'none' }
  expect(asked('openai.chat', { body }).body).not.toHaveProperty('tools')
  expect(asked('openai.chat', { engine: engines.llama, body }).body).toMatchObject(body)
  expect(asked('openai.chat', { body: { tools: TOOLS, tool_choice: 'auto' } }).body).toMatchObject({ tools: TOOLS })
})

test('a grammar is for llama-server: an Ollama would pass over it in silence', () => {
  const body = { grammar: 'root ::= "a"' }
  expect(asked('openai.chat', { engine: engines.llama, body }).body).toMatchObject(body)
  for (const engine of [engines.ollama, engines.native])
    expect(() => ask('openai.chat', { engine, body })).toThrow(
      expect.objectContaining({ code: 'engine_refused', status: 400, message: 'registry.ollama.ai/library/asked:latest does not support grammar' }),
    )
})

test('sampling settings that a client leaves open are left open in every dialect', () => {
  for (const engine of Object.values(engines))
    for (const dialect of ['ollama.chat', 'ollama.generate', 'openai.chat'] as const) {
      const { body } = asked(dialect, { engine })
      expect(body).not.toHaveProperty('temperature')
      expect(body).not.toHaveProperty('top_p')
      expect(body).not.toHaveProperty('options')
    }
})
