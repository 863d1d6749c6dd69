import { BrokerError, type Saved, type Usage } from '@drover/core'
import { clientSides } from './client-side.ts'
import { isObject, type Delta, type JsonObject } from './delta.ts'
import type { Exchange } from './dialect.ts'
import { cutShort, sides, typeOf } from './engine-side.ts'
import { eventPipe } from './event-pipe.ts'
import type { GenerationRequest, Route } from './route.ts'
import type { Transcript } from './transcript.ts'
import { BODY_CHARS } from './whole-call.ts'

/** Where an answer goes, event by event. */
interface Sink {
  /** `event` is what the deltas were read from. */
  take(deltas: Delta[], event: JsonObject | undefined): string
  /** The engine has ended well: what only a complete answer has. */
  end(): string
}

/** What becomes of an answer that goes on with one that was begun before. */
export interface Splice {
  /** What was said of it. */
  begun: Transcript
  /** What of an engine's delta is new, in the terms of the whole answer. @throws BrokerError `node_lost` */
  pass(delta: Delta): Delta[]
  /** Tokens of the whole answer, from what this engine counts. */
  usage(counted: Usage | undefined): Usage | undefined
  /** The answer is complete, whatever the engine would still say. */
  readonly done: boolean
}

const streamSink = (request: GenerationRequest, sameDialect: boolean, begun?: Transcript): Sink => {
  const writer = clientSides[request.dialect].writer(request)
  if (begun?.first) writer.identify?.(begun.first)
  for (const delta of begun?.deltas ?? []) writer.written(delta)
  return {
    take(deltas, event) {
      if (sameDialect && event) writer.identify?.(event)
      return deltas.map((delta) => writer.write(delta)).join('')
    },
    end: () => writer.end(),
  }
}

const bodySink = (request: GenerationRequest, sameDialect: boolean, begun?: Transcript): Sink => {
  const writer = clientSides[request.dialect].body(request)
  if (begun) writer.take([...begun.deltas], undefined)
  return {
    take(deltas, event) {
      writer.take(deltas, sameDialect ? event : undefined)
      return ''
    },
    end: () => writer.end(),
  }
}

/** An answer that was begun before, and of which only the end is to be written. */
export const takenUp = (request: GenerationRequest, begun: Transcript): { contentType: string; end(): string } => ({
  contentType: typeOf(request.dialect, request.stream),
  end: (request.stream ? streamSink : bodySink)(request, false, begun).end,
})

/** The beginning of the answer that the client gave itself, in a last message of the assistant. */
const prefillOf = (body: JsonObject): string => {
  const last: unknown = Array.isArray(body['messages']) ? body['messages'].at(-1) : undefined
  return isObject(last) && last['role'] === 'assistant' && typeof last['content'] === 'string' ? last['content'] : ''
}

/** llama-server repeats a prefilled beginning in a body, but not in a stream: nobody is to see the difference. */
const withoutPrefill = (delta: Delta, prefill: string): Delta =>
  prefill && delta.text?.startsWith(prefill) ? { ...delta, text: delta.text.slice(prefill.length) } : delta

/** Text and thoughts of an answer that is one body, as far as they have not been asked for. */
const unsaved = () => {
  let saved: Saved = { tokens: 0 }
  let plain = true
  return {
    add(deltas: readonly Delta[]): void {
      for (const { choice, text, thinking, tools, logprobs } of deltas) {
        // What is more than text is not gone on with.
        if (choice > 0 || tools || logprobs) plain = false
        if (text === undefined && thinking === undefined) continue
        saved.tokens += 1
        if (text !== undefined) saved.text = (saved.text ?? '') + text
        if (thinking !== undefined) saved.thinking = (saved.thinking ?? '') + thinking
      }
    },
    take(): Saved | undefined {
      if (!plain || saved.tokens === 0) return undefined
      const taken = saved
      saved = { tokens: 0 }
      return taken
    },
  }
}

/** An answer that is read and written anew: put together into one body, translated, taken up where another one ended, or all of it. */
export const rewritten = (request: GenerationRequest, route: Route, stream: boolean, splice?: Splice): Exchange => {
  const { reader, cutter, ...common } = sides(request, route, stream)
  const sameDialect = route.format === request.dialect && !splice
  const sink = (stream ? streamSink : bodySink)(request, sameDialect, splice?.begun)
  const kept = stream ? undefined : unsaved()
  const isOver = () => reader.ended || splice?.done === true

  const take = (said: Delta[], event: JsonObject): string => {
    const deltas = splice ? said.flatMap((delta) => splice.pass(delta)) : said
    kept?.add(deltas)
    return sink.take(deltas, event)
  }
  const pipe = eventPipe(cutter, (_raw, data) => {
    if (isOver()) return ''
    const event = reader.see(data)
    const out = event ? take(reader.read(event), event) : ''
    return stream && isOver() ? out + sink.end() : out
  })

  let whole = ''
  const gather = (text: string): string => {
    whole += text
    if (whole.length > BODY_CHARS) throw new BrokerError('answer_too_large', `the answer is longer than ${BODY_CHARS} characters`)
    return ''
  }
  const fromWhole = (event: JsonObject): string => {
    const prefill = prefillOf(route.body)
    return take(reader.read(event).map((delta) => withoutPrefill(delta, prefill)), event) + sink.end()
  }

  return {
    ...common,
    get usage() {
      return splice ? splice.usage(reader.usage) : reader.usage
    },
    get ended() {
      return isOver()
    },
    get satisfied() {
      return splice?.done === true
    },
    push: route.streamed ? pipe.push : gather,
    finish() {
      if (!route.streamed && reader.seeBody) return fromWhole(reader.seeBody(whole))
      const out = splice?.done ? '' : pipe.close()
      if (!isOver()) throw cutShort()
      return stream ? out : sink.end()
    },
    ...(kept && { unsaved: kept.take }),
  }
}
