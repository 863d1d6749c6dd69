import { isDeepStrictEqual } from 'node:util'
import type { DialectId } from '@drover/core'
import type { JsonObject } from '../delta.ts'
import type { ExchangeRequest } from '../dialect.ts'
import { exchange } from '../exchange.ts'
import { dialects } from '../index.ts'

/** A request that a real Ollama, and for native ones a real llama-server with the same weights, has answered; the answers are in `recorded/ollama/`. */
export interface OllamaCase {
  name: string
  dialect: DialectId
  /** The model: Drover's small one with the template in its file, the same with a template that has thoughts, and one for vectors. */
  model: 'small' | 'thinker' | 'embed'
  body: JsonObject
}

/** What the client calls the model. */
export const ASKED = 'Asked'

/** How Drover comes to the answer: from an Ollama, from an Ollama whose context is set by the node's policy, or from a llama-server. */
export type Way = 'ollama' | 'policy' | 'llama'

const user = (content: string) => ({ role: 'user', content })
const who = [user('Who are you?')]
const options = { temperature: 0, num_predict: 5 }
const short = { temperature: 0, max_tokens: 5 }

const CITY = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const weather = { type: 'function', function: { name: 'weather', description: 'The weather in a city.', parameters: CITY } }
const asksWeather = [user('What is the weather in Paris?')]
const COLOUR = { type: 'object', properties: { colour: { enum: ['red', 'green'] } }, required: ['colour'], additionalProperties: false }
const asksColour = 'Name a colour as JSON.'
const sum = [user('What is 2 + 3?')]
const enough = { temperature: 0, num_predict: 60 }

type Rest = readonly [name: string, model: OllamaCase['model'], body: JsonObject]
const of = (dialect: DialectId, cases: readonly Rest[]): OllamaCase[] => cases.map(([name, model, body]) => ({ name, model, dialect, body }))

export const OLLAMA_CASES: readonly OllamaCase[] = [
  ...of('ollama.chat', [
    ['chat-length', 'small', { messages: who, options }],
    ['chat-end', 'small', { messages: [user('My name is Mira.')], options: enough }],
    ['chat-tools', 'small', { messages: asksWeather, tools: [weather], options: enough }],
    ['chat-logprobs', 'small', { messages: who, options, logprobs: true }],
    ['chat-top-logprobs', 'small', { messages: who, options, logprobs: true, top_logprobs: 2 }],
    ['chat-schema', 'small', { messages: [user(asksColour)], format: COLOUR, options: enough }],
    ['chat-thinking', 'thinker', { messages: sum, options: enough }],
    ['chat-load', 'small', { messages: [] }],
    ['chat-unload', 'small', { messages: [], keep_alive: 0 }],
  ]),
  ...of('ollama.generate', [
    ['generate-length', 'small', { prompt: 'Who are you?', options }],
    ['generate-system', 'small', { prompt: 'Who are you?', system: 'Be brief.', options }],
    ['generate-raw', 'small', { prompt: 'Drover is', raw: true, options }],
    ['generate-schema', 'small', { prompt: asksColour, format: COLOUR, options: enough }],
    ['generate-logprobs', 'small', { prompt: 'Who are you?', options, logprobs: true, top_logprobs: 2 }],
    ['generate-thinking', 'thinker', { prompt: 'What is 2 + 3?', options: enough }],
    ['generate-load', 'small', {}],
    ['generate-unload', 'small', { keep_alive: 0 }],
  ]),
  ...of('ollama.embed', [
    ['embed', 'embed', { input: ['one', 'two words'] }],
    ['embed-dimensions', 'embed', { input: 'one', dimensions: 4 }],
  ]),
  ...of('ollama.embeddings', [['embeddings', 'embed', { prompt: 'one' }]]),
  ...of('openai.chat', [
    ['openai-length', 'small', { messages: who, ...short }],
    ['openai-usage', 'small', { messages: who, ...short, stream_options: { include_usage: true } }],
    ['openai-tools', 'small', { messages: asksWeather, tools: [weather], temperature: 0, max_tokens: 60 }],
    ['openai-logprobs', 'small', { messages: who, ...short, logprobs: true, top_logprobs: 2 }],
    ['openai-schema', 'small', { messages: [user(asksColour)], temperature: 0, max_tokens: 40, response_format: { type: 'json_schema', json_schema: { name: 'colour', schema: COLOUR } } }],
    ['openai-thinking', 'thinker', { messages: sum, temperature: 0, max_tokens: 60 }],
  ]),
  ...of('openai.completions', [
    ['completions-length', 'small', { prompt: 'Who are you?', ...short }],
    ['completions-usage', 'small', { prompt: 'Who are you?', ...short, stream_options: { include_usage: true } }],
  ]),
  ...of('openai.embeddings', [['openai-embeddings', 'embed', { input: ['one', 'two words'] }]]),
  ...of('anthropic.messages', [
    ['messages-length', 'small', { messages: who, ...short }],
    ['messages-tools', 'small', { messages: asksWeather, tools: [{ name: 'weather', description: 'The weather in a city.', input_schema: CITY }], temperature: 0, max_tokens: 60 }],
    ['messages-thinking', 'thinker', { messages: sum, temperature: 0, max_tokens: 60 }],
  ]),
]

/** Ways on which a case was recorded: what only the template of a model can make is not asked of a llama-server with another one. */
export const waysOf = ({ dialect, model }: OllamaCase): Way[] =>
  dialect.startsWith('ollama.') ? (model === 'thinker' ? ['ollama'] : ['ollama', 'llama']) : dialect.endsWith('embeddings') ? ['ollama'] : ['ollama', 'policy']

/** Dialects whose answers can be events. */
export const canStream = ({ dialect, name }: OllamaCase): boolean => !dialect.includes('embed') && !name.endsWith('load')

/** Of each kind of engine, as `libs/engines` has it. */
const SPEAKS: Record<Way, readonly DialectId[]> = {
  ollama: ['ollama.chat', 'ollama.generate', 'ollama.embed', 'ollama.embeddings', 'openai.chat', 'openai.completions', 'openai.embeddings', 'anthropic.messages'],
  policy: ['ollama.chat', 'ollama.generate', 'openai.chat', 'openai.completions', 'anthropic.messages'],
  llama: ['openai.chat', 'openai.completions', 'openai.embeddings', 'anthropic.messages'],
}

export const exchangeOf = ({ dialect, model, body }: OllamaCase, way: Way, stream: boolean) => {
  const request: ExchangeRequest = {
    dialect, stream, asked: ASKED, policy: way === 'policy' ? { numCtx: 1024 } : {}, id: '0-abcdefghijklmnopqrstuv', createdAt: Date.UTC(2026, 10, 21, 12),
    body: dialects[dialect].parse(JSON.stringify({ model: ASKED, stream, ...body })).body,
    engine: { kind: way === 'llama' ? 'llama-server' : 'ollama', speaks: SPEAKS[way], model },
  }
  return exchange(request)
}

export interface Call {
  path: string
  body: JsonObject
}

/** What the engine is asked; nothing for an answer that needs no engine. */
export const callOf = (theCase: OllamaCase, way: Way, stream: boolean): Call | undefined => {
  const { call } = exchangeOf(theCase, way, stream)
  return call && { path: call.path, body: JSON.parse(call.body) as JsonObject }
}

/** What a client of the Ollama itself would ask. */
export const ownCall = ({ dialect, model, body }: OllamaCase, stream: boolean): Call => ({ path: dialects[dialect].path, body: { model, ...body, stream } })

const ENDINGS: Record<string, string> = { '/api/chat': 'ndjson', '/api/generate': 'ndjson' }

/** The file with the answer to a call. What Drover asks as a client of the Ollama itself would is recorded once. */
export const fileOf = (theCase: OllamaCase, way: Way, call: Call): string => {
  const stream = call.body['stream'] === true
  const own = way !== 'llama' && (!canStream(theCase) || isDeepStrictEqual(call, ownCall(theCase, stream)))
  return `ollama/${theCase.name}.${own ? 'own' : way}.${stream ? (ENDINGS[call.path] ?? 'sse') : 'json'}`
}

/** The file with the answer that a client of the Ollama itself had. */
export const ownFileOf = (theCase: OllamaCase, stream: boolean): string => {
  const { path } = ownCall(theCase, stream)
  return `ollama/${theCase.name}.own.${stream ? (ENDINGS[path] ?? 'sse') : 'json'}`
}
