import type { DialectId } from '@drover/core'

type Json = Record<string, unknown>

/** The smallest request with an answer, and what only has a meaning beside something else. */
interface Base {
  body: Json
  /** Fields that stand beside this one in the request with it and in the one without. */
  beside?: Record<string, Json>
  /** Values where one that is picked from the schema would say little. */
  values?: Record<string, unknown>
}

const PROMPT = 'job=compat tokens=2'
const MESSAGES = [{ role: 'user', content: PROMPT }]
const TOOL = { type: 'function', function: { name: 'look', description: 'Looks.', parameters: { type: 'object', properties: {} } } }
const SCHEMA = { type: 'object', properties: { a: { type: 'string' } } }
const LOGPROBS = { top_logprobs: { logprobs: true } }

const native = { 'options.distributed': false, format: SCHEMA, think: true, keep_alive: '7m', stream: true, shift: true, truncate: true }
const openAi = { stop: ['x'], stream: true, logit_bias: { 5: 1 }, n: 2, stream_options: { include_usage: true }, response_format: { type: 'json_schema', json_schema: { name: 'a', schema: SCHEMA } } }

/** Each route's request, for the page that says what becomes of every field. */
export const BASES: Record<DialectId, Base> = {
  'ollama.chat': { body: { messages: MESSAGES }, beside: LOGPROBS, values: { ...native, messages: [...MESSAGES, ...MESSAGES], tools: [TOOL] } },
  'ollama.generate': { body: { prompt: PROMPT }, beside: LOGPROBS, values: { ...native, prompt: `${PROMPT} rate=0`, raw: true } },
  'ollama.embed': { body: { input: 'text' }, values: { ...native, input: 'other' } },
  'ollama.embeddings': { body: { prompt: 'text' }, values: { ...native, prompt: 'other' } },
  'openai.chat': {
    body: { messages: MESSAGES },
    beside: { ...LOGPROBS, tool_choice: { tools: [TOOL] }, parallel_tool_calls: { tools: [TOOL] }, stream_options: { stream: true } },
    values: { ...openAi, messages: [...MESSAGES, ...MESSAGES], tools: [TOOL], tool_choice: 'required', parallel_tool_calls: true, reasoning_effort: 'low', reasoning: { effort: 'low' } },
  },
  'openai.completions': { body: { prompt: PROMPT }, beside: { stream_options: { stream: true } }, values: { ...openAi, prompt: `${PROMPT} rate=0` } },
  'openai.embeddings': { body: { input: 'text' }, values: { input: 'other', encoding_format: 'base64' } },
  'openai.responses': {
    body: { input: PROMPT },
    beside: { tool_choice: { tools: [{ type: 'function', name: 'look', parameters: SCHEMA }] }, parallel_tool_calls: { tools: [{ type: 'function', name: 'look', parameters: SCHEMA }] }, top_logprobs: { include: ['message.output_text.logprobs'] } },
    values: {
      input: `${PROMPT} rate=0`, stream: true, tools: [{ type: 'function', name: 'look', parameters: SCHEMA }], tool_choice: 'required', parallel_tool_calls: true, include: ['message.output_text.logprobs'], reasoning: { effort: 'low' },
      text: { format: { type: 'json_schema', name: 'a', schema: SCHEMA } }, store: true, background: false, previous_response_id: null, conversation: 'c', prompt: { id: 'p' }, metadata: { a: 'b' },
    },
  },
  'anthropic.messages': {
    body: { messages: MESSAGES, max_tokens: 9 },
    beside: { tool_choice: { tools: [{ name: 'look', input_schema: SCHEMA }] } },
    values: {
      messages: [...MESSAGES, { role: 'assistant', content: 'a' }, ...MESSAGES], stream: true, system: 'be brief', tools: [{ name: 'look', input_schema: SCHEMA }], tool_choice: { type: 'any' }, stop_sequences: ['x'],
      thinking: { type: 'enabled', budget_tokens: 1024 }, output_config: { effort: 'low' }, max_tokens: 8,
    },
  },
  'anthropic.count_tokens': {
    body: { messages: MESSAGES },
    beside: { tool_choice: { tools: [{ name: 'look', input_schema: SCHEMA }] } },
    values: { messages: [...MESSAGES, { role: 'assistant', content: 'a' }, ...MESSAGES], system: 'be brief', tools: [{ name: 'look', input_schema: SCHEMA }], tool_choice: { type: 'any' }, thinking: { type: 'enabled', budget_tokens: 1024 }, output_config: { effort: 'low' } },
  },
  'llama.rerank': { body: { query: 'text', documents: ['a', 'b'] }, values: { query: 'other', documents: ['c'] } },
  'llama.tokenize': { body: { content: 'text' }, values: { content: 'other' } },
  'llama.detokenize': { body: { tokens: [1] }, values: { tokens: [2] } },
}
