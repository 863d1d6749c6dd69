import type { Continuation } from '@drover/core'
import { askOllama, askOpenAi } from './ask.ts'
import { completionsToGenerate, oneText } from './completions-request.ts'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import { messagesToChat } from './messages-to-openai.ts'
import { openAiToChat } from './openai-to-ollama.ts'
import { renderRequest, type RenderCall } from './rendering.ts'
import { responsesToOpenAi } from './responses-to-openai.ts'
import { asOpenAiChat, routeOf, routeTo, type GenerationRequest, type Route } from './route.ts'
import type { Transcript } from './transcript.ts'

/** How an engine is asked to go on with a text. */
export interface Continued {
  /** Its prompt must be known first: this asks for it. */
  render?: RenderCall
  /** @param prompt the answer to `render`, '' where there is none to ask for */
  route(prompt: string): Route
  /** The answer had reached its limit: of what comes only the end is of use. */
  full: boolean
}

/** What an engine can do with a model. */
export interface Ability {
  continues: Continuation
  /** The model may think unasked. */
  thinks: boolean
}

/** Stop sequences, in whatever field the client's API has them. */
export const stopsOf = ({ body }: GenerationRequest): string[] => {
  const options = isObject(body['options']) ? body['options'] : {}
  return [body['stop'], body['stop_sequences'], options['stop']].flat().filter((stop) => typeof stop === 'string')
}

/** The same request makes the same answer again: nothing is drawn by lot, or by the same lots. */
export const isDeterministic = ({ body }: GenerationRequest): boolean => {
  const { temperature, seed, top_k: best } = isObject(body['options']) ? { ...body, ...body['options'] } : body
  return temperature === 0 || best === 1 || (typeof seed === 'number' && seed >= 0)
}

/** The form of the answer is bound by a schema or a grammar, which would begin anew in the middle of it. */
const isBound = ({ body }: GenerationRequest): boolean => {
  const { format, grammar, response_format: response, text, output_config: config } = body
  if (format || grammar) return true
  if (isObject(response) && response['type'] !== 'text') return true
  if (isObject(text) && isObject(text['format']) && text['format']['type'] !== 'text') return true
  return isObject(config) && isObject(config['format'])
}

/** The native options with a lower limit; without one, or with a negative one, an answer ends where it does. */
const withLowerOptions = (body: JsonObject, tokens: number): JsonObject => {
  const options = isObject(body['options']) ? body['options'] : {}
  const { num_predict: limit } = options
  return typeof limit === 'number' && limit >= 0 ? { ...body, options: { ...options, num_predict: Math.max(1, limit - tokens) } } : body
}

const withLowerLimit = (body: JsonObject, tokens: number): JsonObject => {
  const { max_tokens: limit } = body
  return typeof limit === 'number' && limit >= 0 ? { ...body, max_tokens: Math.max(1, limit - tokens) } : body
}

const lowered = (body: JsonObject, tokens: number, native: boolean): JsonObject => (native ? withLowerOptions : withLowerLimit)(body, tokens)

const isFull = (body: JsonObject, tokens: number, native: boolean): boolean => {
  const limit = native ? (isObject(body['options']) ? body['options']['num_predict'] : undefined) : body['max_tokens']
  return typeof limit === 'number' && limit >= 0 && limit <= tokens
}

/** A conversation with what was said of its answer; `undefined` where the client itself began the answer with more than text. */
const withText = (messages: unknown, text: string): JsonObject[] | undefined => {
  if (!isFilled(messages)) return undefined
  const all = messages.filter(isObject)
  const last = all.at(-1)
  if (last?.['role'] !== 'assistant') return [...all, { role: 'assistant', content: text }]
  const { content = '', tool_calls: calls } = last
  return typeof content === 'string' && !isFilled(calls) ? [...all.slice(0, -1), { ...last, content: content + text }] : undefined
}

const hasImages = ({ messages, images }: JsonObject): boolean =>
  isFilled(images) ||
  (Array.isArray(messages) &&
    messages.some((message) => isObject(message) && (isFilled(message['images']) || (Array.isArray(message['content']) && message['content'].some((part) => isObject(part) && part['type'] !== 'text')))))

/** The client says whether or how much the model is to think. */
const saysHowToThink = ({ think, reasoning, reasoning_effort: effort, chat_template_kwargs: template }: JsonObject): boolean =>
  [think, reasoning, effort, template].some((field) => field !== undefined)

/** The prompt that another engine was given, as this one's own request for a chat or a templated prompt. */
const templated = (request: GenerationRequest): Route | undefined => {
  const { dialect, engine } = request
  if (engine.kind === 'llama-server') {
    const body = dialect === 'openai.chat' ? askOpenAi(request) : asOpenAiChat(request)
    return body && routeTo('openai.chat', body)
  }
  switch (dialect) {
    case 'ollama.chat':
      return routeTo('ollama.chat', askOllama('chat', request))
    case 'ollama.generate':
      return routeTo('ollama.generate', askOllama('generate', request))
    case 'openai.chat':
      return routeTo('ollama.chat', openAiToChat(request))
    case 'openai.completions':
      return routeTo('ollama.generate', completionsToGenerate(request))
    case 'openai.responses':
      return routeTo('ollama.chat', openAiToChat({ ...request, body: responsesToOpenAi(request) }))
    case 'anthropic.messages':
      return routeTo('ollama.chat', messagesToChat(request))
  }
}

/** The client's own prompt, which no template surrounds. */
const ownPrompt = ({ dialect, body, engine }: GenerationRequest): string | undefined => {
  const bare = dialect === 'ollama.generate' ? body['raw'] === true : dialect === 'openai.completions' && engine.kind === 'llama-server'
  const prompt = bare ? oneText(body['prompt']) : undefined
  return typeof prompt === 'string' ? prompt : undefined
}

/** A request as its prompt, with what was said behind it, past the engine's template and its readers of thoughts and calls. */
const past = (request: GenerationRequest, { format, body }: Route, text: string, tokens: number, thinkNot: boolean): Omit<Continued, 'full'> | undefined => {
  const { engine } = request
  if (engine.kind === 'llama-server') {
    const render = renderRequest(engine.kind, format, thinkNot ? { ...body, chat_template_kwargs: { enable_thinking: false } } : body)
    const { messages: _messages, tools: _tools, tool_choice: _choice, chat_template_kwargs: _template, reasoning_effort: _effort, ...settings } = body
    const ask = { ...withLowerLimit(settings, tokens), stream_options: { include_usage: true } }
    return render && { render, route: (prompt) => routeTo('openai.completions', { ...ask, prompt: prompt + text }) }
  }
  const render = renderRequest(engine.kind, format, thinkNot ? { ...body, think: false } : body)
  const { model, options, keep_alive: keep } = withLowerOptions(body, tokens)
  const ask = { model, stream: true, raw: true, ...(options === undefined ? {} : { options }), ...(keep === undefined ? {} : { keep_alive: keep }) }
  return render && { render, route: (prompt) => routeTo('ollama.generate', { ...ask, prompt: prompt + text }) }
}

/**
 * How this engine goes on with an answer of which plain text was sent; `undefined` where it cannot, or where it would not be the same
 * answer: bound by a schema or grammar, one of several, within its thoughts, with a call begun.
 */
export const continuation = (request: GenerationRequest, begun: Transcript, { continues, thinks }: Ability): Continued | undefined => {
  const { body, engine } = request
  const [said, ...others] = begun.choices
  if (!said || others.length > 0 || Number(body['n'] ?? 1) > 1 || isBound(request)) return undefined
  const [, { text, thinking, tools }] = said
  if (text === '' || tools.texts().length > 0 || body['suffix'] || isFilled(body['context'])) return undefined
  const { tokens } = begun
  const prompt = ownPrompt(request)
  if (prompt !== undefined) {
    const native = request.dialect === 'ollama.generate'
    return { full: isFull(body, tokens, native), route: () => routeOf({ ...request, body: { ...lowered(body, tokens, native), prompt: prompt + text } }) }
  }
  if (continues === 'none') return undefined
  const asked = templated(request)
  if (!asked) return undefined
  const native = asked.format !== 'openai.chat'
  const full = isFull(asked.body, tokens, native)
  const thought = thinking !== ''
  const chat = asked.format === 'ollama.chat' || asked.format === 'openai.chat'
  const messages = chat && continues === 'prefill' && !thought && !thinks && !saysHowToThink(asked.body) ? withText(asked.body['messages'], text) : undefined
  if (messages) return { full, route: () => routeTo(asked.format, { ...lowered(asked.body, tokens, native), messages }) }
  if (isFilled(asked.body['tools']) || hasImages(asked.body) || asked.body['logprobs']) return undefined
  const way = past(request, asked, text, tokens, thought || (thinks && engine.kind === 'ollama'))
  return way && { full, ...way }
}
