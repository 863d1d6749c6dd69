import type { DialectId } from '@drover/core'
import type { JsonObject } from '../delta.ts'
import { dialects } from '../index.ts'
import type { ExchangeRequest } from '../dialect.ts'
import { exchange } from '../exchange.ts'

/**
 * Real llama-servers that the cases are put to: the small model that Drover ships; a model of random words with a template that
 * makes it think, for three tokens; one that embeds; one that ranks.
 */
export type LlamaKind = 'small' | 'thinks' | 'embeds' | 'ranks'

/** A request, and whom it is put to. */
export interface LlamaCase {
  name: string
  server: LlamaKind
  dialect: DialectId
  /** What the client sends, without the model's name and without `stream`. */
  body: JsonObject
}

/** Of a llama-server, as `libs/engines` has it. */
const SPEAKS: readonly DialectId[] = [
  'openai.chat', 'openai.completions', 'openai.embeddings', 'llama.rerank', 'llama.tokenize', 'llama.detokenize', 'anthropic.messages',
  'anthropic.count_tokens',
]

const user = (content: string) => ({ role: 'user', content })
const who = [user('Who are you?')]
const short = { temperature: 0, max_tokens: 5 }

/** A text whose characters have one to four bytes, with everything that JSON escapes. */
const LETTERS = 'né 日 🦊 "q\\"\n'
const GRAMMAR = String.raw`root ::= "né 日 🦊 \"q\\\"\n"`

const CITY = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const weather = { type: 'function', function: { name: 'weather', description: 'The weather in a city.', parameters: CITY } }
const asksWeather = [user('What is the weather in Paris?')]
const tools = { temperature: 0, max_tokens: 60, messages: asksWeather, tools: [weather], tool_choice: 'required' }
/** The token that would end the answer after its first call is out of the question. */
const endless = { parallel_tool_calls: true, logit_bias: { 4: -100 }, max_tokens: 45 }
const COLOUR = { type: 'object', properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'], additionalProperties: false }
const usage = { stream_options: { include_usage: true } }

type Rest = readonly [name: string, server: LlamaKind, body: JsonObject]
const of = (dialect: DialectId, cases: readonly Rest[]): LlamaCase[] => cases.map(([name, server, body]) => ({ name, server, dialect, body }))

const chat = of('openai.chat', [
  ['chat-length', 'small', { messages: who, ...short }],
  ['chat-usage', 'small', { messages: who, ...short, ...usage }],
  ['chat-stop', 'small', { messages: who, temperature: 0, stop: [' Drover'], ...usage }],
  ['chat-end', 'small', { messages: [user('My name is Mira.')], temperature: 0, max_completion_tokens: 40 }],
  ['chat-conversation', 'small', { messages: [{ role: 'system', content: 'Be brief.' }, user('My name is Mira.'), { role: 'assistant', content: 'Hello, Mira.' }, user('What is my name?')], ...short }],
  ['chat-choices', 'small', { messages: who, n: 2, temperature: 1, seed: 4, max_tokens: 3 }],
  ['chat-choices-usage', 'small', { messages: who, n: 2, temperature: 1, seed: 4, max_tokens: 3, ...usage }],
  ['chat-letters', 'small', { messages: who, temperature: 0, max_tokens: 60, grammar: GRAMMAR }],
  ['chat-letters-logprobs', 'small', { messages: who, temperature: 0, max_tokens: 60, grammar: GRAMMAR, logprobs: true, top_logprobs: 2 }],
  ['chat-logprobs', 'small', { messages: who, ...short, logprobs: true, top_logprobs: 3 }],
  ['chat-logprobs-end', 'small', { messages: [user('What is 2 + 2?')], temperature: 0, max_tokens: 20, logprobs: true, top_logprobs: 1, stop: ['small'] }],
  ['chat-schema', 'small', { messages: [user('Name a colour as JSON.')], temperature: 0, max_tokens: 40, response_format: { type: 'json_schema', json_schema: { name: 'colour', schema: COLOUR } } }],
  ['chat-tools', 'small', tools],
  ['chat-tools-two', 'small', { ...tools, ...endless }],
  ['chat-tools-cut', 'small', { ...tools, max_tokens: 14 }],
  ['chat-tools-logprobs', 'small', { ...tools, logprobs: true, top_logprobs: 1, ...usage }],
  ['chat-prefill', 'small', { messages: [...who, { role: 'assistant', content: 'I was' }], ...short }],
  ['chat-prefill-whole', 'small', { messages: [...who, { role: 'assistant', content: 'I was' }], ...short, tools: [weather], logprobs: true, top_logprobs: 1 }],
  ['chat-thinks', 'thinks', { messages: [user('hi')], temperature: 0, max_tokens: 12, reasoning: { effort: 'low' } }],
  ['chat-thinks-cut', 'thinks', { messages: [user('hi')], temperature: 0, max_tokens: 2, ...usage }],
  ['chat-thinks-logprobs', 'thinks', { messages: [user('hi')], temperature: 0, max_tokens: 12, logprobs: true, top_logprobs: 1 }],
])

const completions = of('openai.completions', [
  ['completions', 'small', { prompt: 'My name is', ...short }],
  ['completions-stop', 'small', { prompt: 'My name is', temperature: 0, max_tokens: 20, stop: ['.'] }],
  ['completions-logprobs', 'small', { prompt: 'My name is', ...short, logprobs: 2 }],
  ['completions-logprobs-held', 'small', { prompt: 'My name is', ...short, logprobs: 1, stop: [' Drover Snow'] }],
  ['completions-letters', 'small', { prompt: 'a', temperature: 0, max_tokens: 60, grammar: GRAMMAR }],
  ['completions-prompts', 'small', { prompt: ['My name is', [1, 5, 9]], n: 2, temperature: 1, seed: 4, max_tokens: 2 }],
])

const messages = of('anthropic.messages', [
  ['messages', 'small', { messages: who, ...short }],
  ['messages-stop', 'small', { messages: who, temperature: 0, max_tokens: 60, stop_sequences: [' Drover'] }],
  ['messages-tool', 'small', { messages: asksWeather, temperature: 0, max_tokens: 60, tools: [{ name: 'weather', description: 'The weather in a city.', input_schema: CITY }], tool_choice: { type: 'any' } }],
  ['messages-thinks', 'thinks', { messages: [user('hi')], temperature: 0, max_tokens: 12, thinking: { type: 'enabled', budget_tokens: 3 } }],
])

const responses = of('openai.responses', [
  ['responses', 'small', { input: 'Who are you?', temperature: 0, max_output_tokens: 60 }],
  ['responses-tool', 'small', { input: 'What is the weather in Paris?', temperature: 0, max_output_tokens: 60, tools: [{ type: 'function', ...weather.function, strict: false }], tool_choice: 'required' }],
  ['responses-thinks', 'thinks', { input: 'hi', temperature: 0, max_output_tokens: 12 }],
])

const calm = { temperature: 0, num_predict: 5 }
const long = { temperature: 0, num_predict: 60 }

const native = [
  ...of('ollama.chat', [
    ['native-chat', 'small', { messages: who, options: calm }],
    ['native-chat-end', 'small', { messages: [user('My name is Mira.')], options: long }],
    ['native-chat-stop', 'small', { messages: who, options: { ...long, stop: [' Drover'] } }],
    ['native-chat-logprobs', 'small', { messages: who, options: calm, logprobs: true }],
    ['native-chat-top-logprobs', 'small', { messages: who, options: calm, logprobs: true, top_logprobs: 2 }],
    ['native-chat-letters', 'small', { messages: who, options: long, format: { const: LETTERS } }],
    ['native-chat-schema', 'small', { messages: [user('Name a colour as JSON.')], options: long, format: COLOUR }],
    ['native-chat-tool', 'small', { messages: asksWeather, options: long, tools: [weather] }],
    ['native-chat-tool-logprobs', 'small', { messages: asksWeather, options: long, tools: [weather], logprobs: true, top_logprobs: 1 }],
    ['native-chat-prefill', 'small', { messages: [...who, { role: 'assistant', content: 'I was' }], options: calm }],
    ['native-chat-thinks', 'thinks', { messages: [user('hi')], options: { temperature: 0, num_predict: 12 } }],
    ['native-chat-thinks-not', 'thinks', { messages: [user('hi')], options: calm, think: false }],
  ]),
  ...of('ollama.generate', [
    ['native-generate', 'small', { prompt: 'Who are you?', system: 'Be brief.', options: calm }],
    ['native-generate-thinks', 'thinks', { prompt: 'hi', options: { temperature: 0, num_predict: 12 } }],
    ['native-generate-raw', 'small', { prompt: 'My name is', raw: true, options: calm }],
    ['native-generate-raw-logprobs', 'small', { prompt: 'My name is', raw: true, options: calm, logprobs: true, top_logprobs: 2 }],
    ['native-generate-raw-letters', 'small', { prompt: 'a', raw: true, options: long, format: { const: LETTERS } }],
  ]),
  ...of('ollama.embed', [
    ['native-embed', 'embeds', { input: ['Drover embeds.', 'né 日 🦊'] }],
    ['native-embed-short', 'embeds', { input: 'Drover embeds.', dimensions: 3 }],
  ]),
  ...of('ollama.embeddings', [['native-embeddings', 'embeds', { prompt: 'Drover embeds.' }]]),
]

const whole = [
  ...of('openai.embeddings', [
    ['embeddings', 'embeds', { input: ['Drover embeds.', 'né 日 🦊'] }],
    ['embeddings-base64', 'embeds', { input: [5, 9], encoding_format: 'base64' }],
  ]),
  ...of('anthropic.count_tokens', [['count-tokens', 'small', { messages: who, system: 'Be brief.' }]]),
  ...of('llama.rerank', [['rerank', 'ranks', { query: 'drover', documents: ['a', 'drover', 'other words'], top_n: 2 }]]),
  ...of('llama.tokenize', [['tokenize', 'small', { content: 'né 日 🦊', with_pieces: true, add_special: true }]]),
  ...of('llama.detokenize', [['detokenize', 'small', { tokens: [308, 564, 812] }]]),
]

/** Everything that is asked of a real llama-server. */
export const LLAMA_CASES: readonly LlamaCase[] = [...chat, ...completions, ...messages, ...responses, ...native, ...whole]

/** How the model is called by a client, which never says it as the engine does. */
export const ASKED = 'Asked'

/** A case as the gateway reads it and a worker asks it. */
export const exchangeOf = ({ dialect, server, body }: LlamaCase, stream: boolean) => {
  const request: ExchangeRequest = {
    dialect, stream, asked: ASKED, policy: {}, id: '0-abcdefghijklmnopqrstuv', createdAt: Date.UTC(2026, 10, 20, 12),
    body: dialects[dialect].parse(JSON.stringify({ model: ASKED, stream, ...body })).body,
    engine: { kind: 'llama-server', speaks: SPEAKS, model: server },
  }
  return exchange(request)
}

/** What the engine is asked for it. @throws Error where it is not asked at all */
export const callOf = (theCase: LlamaCase, stream: boolean): { path: string; body: JsonObject } => {
  const { call } = exchangeOf(theCase, stream)
  if (!call) throw new Error(`${theCase.name} needs no engine`)
  return { path: call.path, body: JSON.parse(call.body) as JsonObject }
}

/**
 * What a client of the engine itself would ask, for one body: the same in the engine's own endpoint for the dialect, else what
 * Drover asks, without a stream.
 */
export const ownCall = (theCase: LlamaCase): { path: string; body: JsonObject } => {
  const { dialect, server, body } = theCase
  if (dialect !== 'openai.responses' && !SPEAKS.includes(dialect)) {
    const { path, body: asked } = callOf(theCase, false)
    const { stream: _stream, stream_options: _options, ...rest } = asked
    return { path, body: rest }
  }
  const { stream_options: _options, ...rest } = body
  return { path: dialects[dialect].path, body: { model: server, ...rest } }
}
