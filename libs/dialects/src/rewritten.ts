import { BrokerError } from '@drover/core'
import { Collected } from './collect.ts'
import { isObject, type Delta, type JsonObject } from './delta.ts'
import type { Exchange, ExchangeRequest } from './dialect.ts'
import { cutShort, sides } from './engine-side.ts'
import { eventPipe } from './event-pipe.ts'
import { ollamaBody, OllamaWriter } from './ollama-events.ts'
import { OpenAiReader } from './openai-reader.ts'
import { openAiBody, OpenAiWriter } from './openai-writer.ts'
import type { Route } from './route.ts'

/** Most characters of an engine's answer that comes as one body. */
const BODY_CHARS = 64 * 1024 * 1024

/** Where an answer goes, event by event. */
interface Sink {
  /** `event` is what the deltas were read from. */
  take(deltas: Delta[], event: JsonObject): string
  /** The engine has ended well: what only a complete answer has. */
  end(): string
}

const streamSink = (request: ExchangeRequest, sameDialect: boolean): Sink => {
  const kind = request.dialect === 'ollama.chat' ? 'chat' : 'generate'
  const writer = request.dialect === 'openai.chat' ? new OpenAiWriter(request) : new OllamaWriter(kind, request)
  return {
    take(deltas, event) {
      if (sameDialect && writer instanceof OpenAiWriter) writer.identify(event)
      return deltas.map((delta) => writer.write(delta)).join('')
    },
    end: () => writer.end(),
  }
}

/** Fields around the choices that an engine's own OpenAI answer keeps. */
const ENVELOPE = ['id', 'created', 'system_fingerprint', 'usage', 'timings']

const bodySink = (request: ExchangeRequest, sameDialect: boolean): Sink => {
  const answer = new Collected(request.id)
  const envelope: JsonObject = {}
  let last: JsonObject | undefined
  return {
    take(deltas, event) {
      for (const delta of deltas) answer.add(delta)
      if (sameDialect) {
        last = event
        for (const name of ENVELOPE) if (event[name] !== undefined && event[name] !== null) envelope[name] = event[name]
      }
      return ''
    },
    end: () =>
      request.dialect === 'openai.chat'
        ? openAiBody(request, answer, envelope)
        : ollamaBody(request.dialect === 'ollama.chat' ? 'chat' : 'generate', request, answer, last),
  }
}

/** The beginning of the answer that the client gave itself, in a last message of the assistant. */
const prefillOf = (body: JsonObject): string => {
  const last: unknown = Array.isArray(body['messages']) ? body['messages'].at(-1) : undefined
  return isObject(last) && last['role'] === 'assistant' && typeof last['content'] === 'string' ? last['content'] : ''
}

/** llama-server repeats a prefilled beginning in a body, but not in a stream: nobody is to see the difference. */
const withoutPrefill = (delta: Delta, prefill: string): Delta =>
  prefill && delta.text?.startsWith(prefill) ? { ...delta, text: delta.text.slice(prefill.length) } : delta

/** An answer that is read and written anew: put together into one body, translated, or both. */
export const rewritten = (request: ExchangeRequest, route: Route, stream: boolean): Exchange => {
  const { reader, cutter, ...common } = sides(request, route, stream)
  const sameDialect = route.format === request.dialect
  const sink = (stream ? streamSink : bodySink)(request, sameDialect)

  const pipe = eventPipe(cutter, (_raw, data) => {
    if (reader.ended) return ''
    const event = reader.see(data)
    const out = event ? sink.take(reader.read(event), event) : ''
    return stream && reader.ended ? out + sink.end() : out
  })

  let whole = ''
  const gather = (text: string): string => {
    whole += text
    if (whole.length > BODY_CHARS) throw new BrokerError('answer_too_large', `the answer is longer than ${BODY_CHARS} characters`)
    return ''
  }
  const fromWhole = (reader: OpenAiReader): string => {
    const event = reader.seeBody(whole)
    const prefill = prefillOf(request.body)
    return sink.take(reader.read(event).map((delta) => withoutPrefill(delta, prefill)), event) + sink.end()
  }

  return {
    ...common,
    get usage() {
      return reader.usage
    },
    get ended() {
      return reader.ended
    },
    push: route.streamed ? pipe.push : gather,
    finish() {
      if (!route.streamed && reader instanceof OpenAiReader) return fromWhole(reader)
      const out = pipe.close()
      if (!reader.ended) throw cutShort()
      return stream ? out : sink.end()
    },
  }
}
