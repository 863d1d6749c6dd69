import type { DialectId } from '@drover/core'
import { isFilled, isObject, type JsonObject } from '../delta.ts'
import { ASKED, type LlamaCase } from './llama-cases.ts'

/** Where an answer of Drover's is not what the same llama-server says itself. All else is the same to the byte. */
export interface Exception {
  name: string
  dialects: readonly DialectId[]
  /** What llama-server does, what a client of Drover gets, and why. */
  engine: string
  drover: string
  why: string
  /** The engine's own stream as the client gets it. */
  stream?(said: string, theCase: LlamaCase): string
  /** The engine's own body as the client gets it. */
  body?(own: JsonObject, theCase: LlamaCase): JsonObject
}

const object = (value: unknown): JsonObject => (isObject(value) ? value : {})
const list = (value: unknown): JsonObject[] => (Array.isArray(value) ? value.filter(isObject) : [])

const withChoices = (own: JsonObject, change: (choice: JsonObject) => JsonObject): JsonObject =>
  Array.isArray(own['choices']) ? { ...own, choices: list(own['choices']).map(change) } : own

/** How many answers a request asks for. */
const answersOf = ({ n = 1, prompt }: JsonObject): number => Number(n) * (Array.isArray(prompt) && typeof prompt[0] !== 'number' ? prompt.length : 1)

const prefillOf = ({ messages }: JsonObject): string => {
  const last = list(messages).at(-1)
  return last?.['role'] === 'assistant' ? String(last['content']) : ''
}

/** Tokens of a template that ends a thought: llama-server tells of them in bodies. */
const END_OF_THOUGHT = '</think>'

/** The tokens whose text is in the answer: without empty ones, and without those that spell the end of a thought. */
const spoken = (tokens: readonly JsonObject[]): JsonObject[] => {
  const said = tokens.filter(({ token }) => token !== '')
  for (const [from] of said.entries()) {
    let text = ''
    for (let to = from; to < said.length && END_OF_THOUGHT.startsWith(text); to++) {
      text += String(said[to]?.['token'])
      if (text === END_OF_THOUGHT) return [...said.slice(0, from), ...said.slice(to + 1)]
    }
  }
  return said
}

export const LLAMA_EXCEPTIONS: readonly Exception[] = [
  {
    name: 'The model’s name',
    dialects: ['openai.chat', 'openai.completions', 'openai.embeddings', 'anthropic.messages', 'llama.rerank'],
    engine: 'names the model as it was told to by `-a`, whatever was asked for.',
    drover: 'names it as the client did.',
    why: 'Clients look for the name that they asked for, and one model has several names over many nodes.',
    stream: (said, { server }) => said.replaceAll(`"model":"${server}"`, `"model":"${ASKED}"`),
    body: (own) => ('model' in own ? { ...own, model: ASKED } : own),
  },
  {
    name: 'Usage of several answers',
    dialects: ['openai.chat', 'openai.completions'],
    engine: 'tells the usage of the first answer only, in a body with `n` or several prompts.',
    drover: 'tells the tokens of all answers, and each prompt once, without `prompt_tokens_details`.',
    why: 'OpenAI’s API counts all of them.',
    body: (own, { body }) => {
      const count = answersOf(body)
      if (count === 1) return own
      const { prompt_tokens: prompt, completion_tokens: completion } = object(own['usage'])
      // Every prompt of the cases has as many tokens as the first, or is a list of them; every answer has as many as the limit lets it.
      const prompts = Array.isArray(body['prompt']) ? (body['prompt'] as unknown[]) : [undefined]
      const promptTokens = prompts.reduce<number>((sum, one) => sum + (Array.isArray(one) ? one.length : Number(prompt)), 0)
      const completionTokens = Number(completion) * count
      return { ...own, usage: { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: promptTokens + completionTokens } }
    },
  },
  {
    name: 'The beginning that the client gave',
    dialects: ['openai.chat'],
    engine: 'repeats in a body the text of a last message of the assistant, and in a stream does not.',
    drover: 'repeats it in neither.',
    why: 'One request has one answer; other engines do not repeat it.',
    body: (own, { body }) => {
      const prefill = prefillOf(body)
      if (!prefill) return own
      return withChoices(own, (choice) => {
        const message = object(choice['message'])
        return { ...choice, message: { ...message, content: String(message['content']).slice(prefill.length) } }
      })
    },
  },
  {
    name: 'Log probabilities of what is not said',
    dialects: ['openai.chat'],
    engine: 'tells in a body, and in a stream does not, of tokens without a text in the answer: the end of the text, what it holds back because a stop sequence may begin there, the tags around thoughts.',
    drover: 'tells in both what it tells in the stream.',
    why: 'Bodies are put together from the stream, for only a stream is ended at once when its client leaves.',
    body: (own, { body }) =>
      // An answer with tools and log probabilities cannot be streamed, so it is one body from the start.
      isFilled(body['tools']) ? own : withChoices(own, (choice) => {
        const { content, ...more } = object(choice['logprobs'])
        return Array.isArray(content) ? { ...choice, logprobs: { ...more, content: spoken(list(content)) } } : choice
      }),
  },
  {
    name: 'An event that is `null`',
    dialects: ['openai.completions'],
    engine: 'begins the stream of an answer to several prompts with `data: null`.',
    drover: 'leaves it out.',
    why: 'Every event of OpenAI’s API is an object.',
    stream: (said) => said.replace(/^data: null\n\n/, ''),
  },
  {
    name: 'The encoding of an embedding',
    dialects: ['openai.embeddings'],
    engine: 'repeats `encoding_format` beside each embedding in base64.',
    drover: 'leaves it out.',
    why: 'OpenAI’s API does not have it, and embeddings may come in parts from several engines, which are joined.',
    body: (own) => ({ ...own, data: list(own['data']).map(({ encoding_format: _format, ...one }) => one) }),
  },
  {
    name: 'The sequence that ended an answer',
    dialects: ['anthropic.messages'],
    engine: 'names it in `stop_sequence`, and says `end_turn` for the reason.',
    drover: 'says `stop_sequence` for the reason.',
    why: 'So Anthropic’s API has it.',
    stream: (said) => said.replace(/"stop_reason":"end_turn","stop_sequence":"/, '"stop_reason":"stop_sequence","stop_sequence":"'),
    body: (own) => (typeof own['stop_sequence'] === 'string' ? { ...own, stop_reason: 'stop_sequence' } : own),
  },
  {
    name: 'The input of a call that begins',
    dialects: ['anthropic.messages'],
    engine: 'leaves it out of `content_block_start`.',
    drover: 'has it, empty.',
    why: 'So Anthropic’s API has it, and its client adds the pieces to it.',
    stream: (said) => said.replaceAll(/("content_block":\{"type":"tool_use","id":"[^"]*","name":"[^"]*")\}/g, '$1,"input":{}}'),
  },
]

/** Where llama-server is asked otherwise than by its own client: with another name for the same, or for what it would tell anyway. */
export const ASKED_OTHERWISE: readonly { dialects: readonly DialectId[]; what: string; ask(body: JsonObject): JsonObject }[] = [
  {
    dialects: ['openai.chat'],
    what: '`max_completion_tokens` is sent as `max_tokens`, and `reasoning.effort` as `reasoning_effort`, which are other names of the same.',
    ask: ({ max_completion_tokens: limit, reasoning, ...rest }) => ({
      ...rest, ...(limit === undefined ? {} : { max_tokens: limit }), ...(isObject(reasoning) ? { reasoning_effort: reasoning['effort'] } : {}),
    }),
  },
  {
    dialects: ['openai.completions'],
    what: 'Usage is always asked for; llama-server tells it in the last event in any case.',
    ask: (body) => ({ ...body, stream_options: { include_usage: true } }),
  },
  {
    dialects: ['anthropic.messages'],
    what: '`thinking` and `output_config.effort` also become `chat_template_kwargs`, without which templates think as they like; tools that `tool_choice` forbids are not sent; a schema is asked for through its chat. llama-server’s own endpoint passes over all of these.',
    ask: (body) => (isObject(body['thinking']) ? { ...body, chat_template_kwargs: { enable_thinking: body['thinking']['type'] !== 'disabled' } } : body),
  },
]

/** What differs between two answers of one engine to one request, and so is not compared. */
export const VARYING: Readonly<Record<string, string>> = {
  id: 'ids of answers, and of calls: made anew for each',
  created: 'when the answer was made',
  timings: 'how long the engine took, in milliseconds and per second, and how much of the prompt it still had',
  cached_tokens: 'how much of the prompt it still had in its cache',
  cache_read_input_tokens: 'the same in Anthropic’s API; `input_tokens` are the rest of the prompt, so the sum of both is compared',
}

/** A value without what varies. A token's id is a number, and does not. */
export const steady = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(steady)
  if (!isObject(value)) return value
  const { input_tokens: input, cache_read_input_tokens: cached } = value
  const out = Object.fromEntries(Object.entries(value).map(([name, field]) => {
    if (name === 'timings' && isObject(field)) return [name, Object.fromEntries(Object.keys(field).map((key) => [key, key === 'predicted_n' ? field[key] : 0]))]
    return [name, name in VARYING && !(name === 'id' && typeof field === 'number') ? `any ${name}` : steady(field)]
  }))
  return typeof cached === 'number' ? { ...out, input_tokens: Number(input) + cached } : out
}

/** The same for the text of a stream, whose spelling stays as it is. */
export const steadyText = (text: string): string =>
  text
    .replaceAll(/"id":"[^"]*"/g, '"id":""')
    .replaceAll(/"created":\d+/g, '"created":0')
    .replaceAll(/"timings":\{[^}]*\}/g, (timings) => timings.replaceAll(/"(?!predicted_n")(\w+)":[\d.e+-]+/g, '"$1":0'))
    .replaceAll(/"cached_tokens":\d+/g, '"cached_tokens":0')
    .replaceAll(/"cache_read_input_tokens":(\d+),"input_tokens":(\d+)/g, (_, cached, input) => `"input_tokens":${Number(cached) + Number(input)}`)

const of = ({ dialect }: LlamaCase) => LLAMA_EXCEPTIONS.filter(({ dialects }) => dialects.includes(dialect))

/** The engine's own stream as a client of Drover should get it. */
export const expectedStream = (said: string, theCase: LlamaCase): string => of(theCase).reduce((text, { stream }) => stream?.(text, theCase) ?? text, said)

/** The engine's own body as a client of Drover should get it. */
export const expectedBody = (own: JsonObject, theCase: LlamaCase): JsonObject => of(theCase).reduce((body, one) => one.body?.(body, theCase) ?? body, own)
