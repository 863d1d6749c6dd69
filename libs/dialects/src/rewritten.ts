import { BrokerError } from '@drover/core'
import { clientSides } from './client-side.ts'
import { isObject, type Delta, type JsonObject } from './delta.ts'
import type { Exchange } from './dialect.ts'
import { cutShort, sides } from './engine-side.ts'
import { eventPipe } from './event-pipe.ts'
import type { GenerationRequest, Route } from './route.ts'
import { BODY_CHARS } from './whole-call.ts'

/** Where an answer goes, event by event. */
interface Sink {
  /** `event` is what the deltas were read from. */
  take(deltas: Delta[], event: JsonObject): string
  /** The engine has ended well: what only a complete answer has. */
  end(): string
}

const streamSink = (request: GenerationRequest, sameDialect: boolean): Sink => {
  const writer = clientSides[request.dialect].writer(request)
  return {
    take(deltas, event) {
      if (sameDialect) writer.identify?.(event)
      return deltas.map((delta) => writer.write(delta)).join('')
    },
    end: () => writer.end(),
  }
}

const bodySink = (request: GenerationRequest, sameDialect: boolean): Sink => {
  const writer = clientSides[request.dialect].body(request)
  return {
    take(deltas, event) {
      writer.take(deltas, sameDialect ? event : undefined)
      return ''
    },
    end: () => writer.end(),
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
export const rewritten = (request: GenerationRequest, route: Route, stream: boolean): Exchange => {
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
  const fromWhole = (event: JsonObject): string => {
    const prefill = prefillOf(route.body)
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
      if (!route.streamed && reader.seeBody) return fromWhole(reader.seeBody(whole))
      const out = pipe.close()
      if (!reader.ended) throw cutShort()
      return stream ? out : sink.end()
    },
  }
}
