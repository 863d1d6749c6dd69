import type { BrokerError } from '@drover/core'
import type { Exchange, ExchangeRequest } from './dialect.ts'
import type { EventReader, JsonObject } from './delta.ts'
import { protocol } from './engine-event.ts'
import { LineCutter, SseCutter, type EventCutter, type TakeEvent } from './event-stream.ts'
import { InfillReader } from './infill-reader.ts'
import { MessagesReader } from './messages-reader.ts'
import { OllamaReader } from './ollama-events.ts'
import { OpenAiReader } from './openai-reader.ts'
import { inClientsName, isAnthropicError, refusalOf, unsupported } from './refusal.ts'
import { ResponsesReader } from './responses-reader.ts'
import { isNative, type EngineFormat, type GenerationDialect, type GenerationRequest, type Route } from './route.ts'

export const JSON_TYPE = 'application/json; charset=utf-8'
export const NDJSON_TYPE = 'application/x-ndjson'
export const SSE_TYPE = 'text/event-stream'

export const cutShort = () => protocol('the engine closed its answer before the end of it')

const answersIn = ({ n }: JsonObject): number => (typeof n === 'number' ? n : 1)

const readers: Record<EngineFormat, (request: ExchangeRequest) => EventReader> = {
  'ollama.chat': () => new OllamaReader('chat'),
  'ollama.generate': () => new OllamaReader('generate'),
  'openai.chat': () => new OpenAiReader(),
  'openai.completions': ({ body }) => new OpenAiReader(answersIn(body)),
  'openai.responses': () => new ResponsesReader(),
  'anthropic.messages': () => new MessagesReader(),
  'llama.infill': ({ body }) => new InfillReader(answersIn(body)),
}

export const readerOf = (format: EngineFormat, request: ExchangeRequest): EventReader => readers[format](request)

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

export const cutterOf = (format: EngineFormat): EventCutter => {
  if (isNative(format)) return new LineCutter()
  return format === 'openai.completions' ? withoutNull(new SseCutter()) : new SseCutter(isTyped(format))
}

const refusalIn = (format: EngineFormat, request: GenerationRequest, status: number, said: string): BrokerError => {
  const { dialect, asked } = request
  const text = inClientsName(said, request)
  // A model without tokens for that is no server's failure, and clients would repeat what was answered with 501.
  if (format === 'llama.infill' && status === 501) return unsupported(asked, 'insert')
  return refusalOf(status, text, errorForm(format) === errorForm(dialect) && (format !== 'anthropic.messages' || isAnthropicError(text)))
}

export const typeOf = (dialect: GenerationDialect, stream: boolean): string => (!stream ? JSON_TYPE : isNative(dialect) ? NDJSON_TYPE : SSE_TYPE)

/** What every exchange has, whatever becomes of the answer: the call, and how the engine's answer is read. */
export const sides = (
  request: GenerationRequest,
  { format, path, body }: Route,
  stream: boolean,
): Pick<Exchange, 'call' | 'contentType' | 'refusal'> & { reader: EventReader; cutter: EventCutter } => ({
  call: { path, body: JSON.stringify(body) },
  contentType: typeOf(request.dialect, stream),
  reader: readers[format](request),
  cutter: cutterOf(format),
  refusal: (status, text) => refusalIn(format, request, status, text),
})
