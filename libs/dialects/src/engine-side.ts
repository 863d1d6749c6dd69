import type { Exchange, ExchangeRequest } from './dialect.ts'
import { protocol } from './engine-event.ts'
import { LineCutter, SseCutter, type EventCutter } from './event-stream.ts'
import { OllamaReader } from './ollama-events.ts'
import { OpenAiReader } from './openai-reader.ts'
import { refusalOf } from './refusal.ts'
import type { EngineFormat, Route } from './route.ts'

export const JSON_TYPE = 'application/json; charset=utf-8'
export const NDJSON_TYPE = 'application/x-ndjson'
export const SSE_TYPE = 'text/event-stream'

export const isNative = (format: EngineFormat): format is 'ollama.chat' | 'ollama.generate' =>
  format === 'ollama.chat' || format === 'ollama.generate'

export const cutShort = () => protocol('the engine closed its answer before the end of it')

/** What every exchange has, whatever becomes of the answer: the call, and how the engine's answer is read. */
export const sides = (
  request: ExchangeRequest,
  { format, path, body }: Route,
  stream: boolean,
): Pick<Exchange, 'call' | 'contentType' | 'refusal'> & { reader: OllamaReader | OpenAiReader; cutter: EventCutter } => ({
  call: { path, body: JSON.stringify(body) },
  contentType: !stream ? JSON_TYPE : request.dialect === 'openai.chat' ? SSE_TYPE : NDJSON_TYPE,
  reader: isNative(format) ? new OllamaReader(format === 'ollama.chat' ? 'chat' : 'generate') : new OpenAiReader(),
  cutter: isNative(format) ? new LineCutter() : new SseCutter(),
  refusal: (status, text) => refusalOf(status, text, isNative(format) === (request.dialect !== 'openai.chat')),
})
