import type { DialectId } from '@drover/core'

type Schema = Record<string, unknown>

const text: Schema = { type: 'string' }
const whole: Schema = { type: 'integer' }
const list = (items: Schema): Schema => ({ type: 'array', items })
const one = (value: string | boolean): Schema => ({ const: value })
const or = (...branches: Schema[]): Schema => ({ anyOf: branches })
const none: Schema = { type: 'null' }

/** An object that has `fields` always and `more` where there is something to say. */
const object = (fields: Record<string, Schema>, more: Record<string, Schema> = {}): Schema => ({
  type: 'object',
  required: Object.keys(fields),
  properties: { ...fields, ...more },
})

/** What is told when an answer of the native API is done. Times are in nanoseconds. */
const FIGURES = {
  done_reason: { type: 'string', examples: ['stop', 'length', 'load', 'unload'] },
  total_duration: whole,
  load_duration: whole,
  prompt_eval_count: whole,
  prompt_eval_duration: whole,
  eval_count: whole,
  eval_duration: whole,
}

const nativeCall = object({ function: object({ name: text, arguments: { type: 'object' } }, { index: whole }) }, { id: text })
const nativeMessage = object({ role: text, content: text }, { thinking: text, tool_calls: list(nativeCall) })
const native = (said: Record<string, Schema>, more: Record<string, Schema> = {}): Schema =>
  object({ model: text, created_at: { type: 'string', format: 'date-time' }, ...said, done: { type: 'boolean' } }, { ...more, logprobs: list({ type: 'object' }), ...FIGURES })

const usage = object({ prompt_tokens: whole, total_tokens: whole }, { completion_tokens: whole, prompt_tokens_details: { type: 'object' } })
const call = object({}, { index: whole, id: text, type: text, function: object({}, { name: text, arguments: text }) })
const said = { role: text, content: or(text, none), reasoning: text, reasoning_content: text, tool_calls: list(call) }
const finish = or(text, none)
const openAi = (kind: string, choice: Record<string, Schema>, more: Record<string, Schema> = {}): Schema =>
  object({ id: text, object: one(kind), created: whole, model: text, choices: list(object({ index: whole, ...choice }, { logprobs: or({ type: 'object' }, none), finish_reason: finish })) }, { usage: or(usage, none), ...more })

const block: Schema = object({ type: text }, { text, thinking: text, signature: text, id: text, name: text, input: { type: 'object' } })
const anthropicUsage = object({ input_tokens: whole, output_tokens: whole })

const response = object(
  { id: text, object: one('response'), created_at: { type: 'number' }, model: text, status: { type: 'string', examples: ['completed', 'incomplete', 'failed', 'in_progress'] }, output: list(object({ type: text })) },
  { usage: or(object({ input_tokens: whole, output_tokens: whole, total_tokens: whole }), none), error: or({ type: 'object' }, none), incomplete_details: or({ type: 'object' }, none) },
)

/** What each inference route answers: as one body, and as one event of its stream. Engines may add fields of their own. */
export const answerSchemas: Record<DialectId, { body: Schema; event?: Schema }> = {
  'ollama.chat': { body: native({ message: nativeMessage }), event: native({}, { message: nativeMessage }) },
  'ollama.generate': { body: native({ response: text }, { thinking: text, context: list(whole) }), event: native({}, { response: text, thinking: text, context: list(whole) }) },
  'ollama.embed': { body: object({ model: text, embeddings: list(list({ type: 'number' })) }, { total_duration: whole, load_duration: whole, prompt_eval_count: whole }) },
  'ollama.embeddings': { body: object({ embedding: list({ type: 'number' }) }) },
  'openai.chat': { body: openAi('chat.completion', { message: object({}, said) }), event: openAi('chat.completion.chunk', { delta: object({}, said) }) },
  'openai.completions': { body: openAi('text_completion', { text }), event: openAi('text_completion', { text }) },
  'openai.embeddings': {
    body: object({ object: one('list'), model: text, data: list(object({ object: one('embedding'), index: whole, embedding: or(list({ type: 'number' }), { type: 'string', contentEncoding: 'base64' }) })), usage }),
  },
  'openai.responses': { body: response, event: object({ type: { type: 'string', examples: ['response.output_text.delta', 'response.completed'] } }, { sequence_number: whole, delta: text, item: { type: 'object' }, response }) },
  'anthropic.messages': {
    body: object({ id: text, type: one('message'), role: one('assistant'), model: text, content: list(block), stop_reason: finish, usage: anthropicUsage }, { stop_sequence: or(text, none) }),
    event: object({ type: { type: 'string', examples: ['message_start', 'content_block_start', 'content_block_delta', 'content_block_stop', 'message_delta', 'message_stop', 'ping', 'error'] } }, { index: whole, message: { type: 'object' }, content_block: block, delta: { type: 'object' }, usage: { type: 'object' } }),
  },
  'anthropic.count_tokens': { body: object({ input_tokens: whole }) },
  'llama.rerank': { body: object({ model: text, results: list(object({ index: whole, relevance_score: { type: 'number' } })) }, { object: text, usage }) },
  'llama.tokenize': { body: object({ tokens: list(or(whole, object({ id: whole, piece: or(text, list(whole)) }))) }) },
  'llama.detokenize': { body: object({ content: text }) },
}
