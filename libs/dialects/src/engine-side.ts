import type { Exchange, ExchangeRequest } from './dialect.ts'
import type { EventReader } from './delta.ts'
import { protocol } from './engine-event.ts'
import { LineCutter, SseCutter, type EventCutter, type TakeEvent } from './event-stream.ts'
import { MessagesReader } from './messages-reader.ts'
import { OllamaReader } from './ollama-events.ts'
import { OpenAiReader } from './openai-reader.ts'
import { isAnthropicError, refusalOf } from './refusal.ts'
import { ResponsesReader } from './responses-reader.ts'
import { isNative, type EngineFormat, type Route } from './route.ts'

export const JSON_TYPE = 'application/json; charset=utf-8'
export const NDJSON_TYPE = 'application/x-ndjson'
export const SSE_TYPE = 'text/event-stream'

export const cutShort = () => protocol('the engine closed its answer before the end of it')

const readers: Record<EngineFormat, (request: ExchangeRequest) => EventReader> = {
  'ollama.chat': () => new OllamaReader('chat'),
  'ollama.generate': () => new OllamaReader('generate'),
  'openai.chat': () => new OpenAiReader(),
  'openai.completions': ({ body }) => new OpenAiReader(typeof body['n'] === 'number' ? body['n'] : 1),
  'openai.responses': () => new ResponsesReader(),
  'anthropic.messages': () => new MessagesReader(),
}

/** Formats whose events have a line with their type. */
export const isTyped = (format: EngineFormat): boolean => format === 'openai.responses' || format === 'anthropic.messages'

/** Which API's error bodies a client of the dialect, or an engine in the format, reads and writes. */
const errorForm = (format: EngineFormat) => (isNative(format) ? 'ollama' : format === 'anthropic.messages' ? 'anthropic' : 'openai')

/** llama-server begins the stream of an answer to several prompts with an event that is `null`. */
const unlessNull =
  (take: TakeEvent): TakeEvent =>
  (raw, data) => {
    if (data !== 'null') take(raw, data)
  }

const withoutNull = (cutter: EventCutter): EventCutter => ({
  push: (text, take) => cutter.push(text, unlessNull(take)),
  close: (take) => cutter.close(unlessNull(take)),
})

const cutterOf = (format: EngineFormat): EventCutter => {
  if (isNative(format)) return new LineCutter()
  return format === 'openai.completions' ? withoutNull(new SseCutter()) : new SseCutter(isTyped(format))
}

/** What every exchange has, whatever becomes of the answer: the call, and how the engine's answer is read. */
export const sides = (
  request: ExchangeRequest & { dialect: EngineFormat },
  { format, path, body }: Route,
  stream: boolean,
): Pick<Exchange, 'call' | 'contentType' | 'refusal'> & { reader: EventReader; cutter: EventCutter } => ({
  call: { path, body: JSON.stringify(body) },
  contentType: !stream ? JSON_TYPE : isNative(request.dialect) ? NDJSON_TYPE : SSE_TYPE,
  reader: readers[format](request),
  cutter: cutterOf(format),
  refusal: (status, text) => refusalOf(status, text, errorForm(format) === errorForm(request.dialect) && (format !== 'anthropic.messages' || isAnthropicError(text))),
})
