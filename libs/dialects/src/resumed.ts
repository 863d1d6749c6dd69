import { BrokerError, type Continuation, type Rung, type Saved, type Usage } from '@drover/core'
import { continuation, isDeterministic, stopsOf } from './continuation.ts'
import type { Delta } from './delta.ts'
import type { Exchange, ExchangeRequest } from './dialect.ts'
import { wantsUsage } from './openai-writer.ts'
import type { RenderCall } from './rendering.ts'
import { Replay } from './replay.ts'
import { rewritten, takenUp, type Splice } from './rewritten.ts'
import { isGeneration, routeOf, type GenerationRequest } from './route.ts'
import { Seam } from './seam.ts'
import { begunAt, readTranscript, savedTranscript, type Transcript } from './transcript.ts'
import { withoutCall } from './whole-call.ts'

/** An answer that was begun by an attempt that is lost. */
export interface Begun {
  /** What the client was sent, in its dialect. */
  sent: string
  /** What was kept of an answer that is one body. */
  saved?: Saved
}

/** What is known of the engine that is to go on. */
export interface Successor {
  /** It has the very model that began the answer. */
  sameModel: boolean
  continues: Continuation
  /** The model may think unasked. */
  thinks: boolean
}

/** How an answer goes on. */
export type Resumption =
  /** All of it was sent: only its end must be recorded. */
  | { kind: 'complete'; usage?: Usage }
  | { kind: 'resumed'; rung: Rung; render?: RenderCall; /** `prompt`: the answer to `render`. */ exchange(prompt?: string): Exchange }
  /** Nothing that was sent could be gone on with. */
  | { kind: 'impossible'; error: BrokerError }

const impossible = (why: string): Resumption => ({
  kind: 'impossible',
  error: new BrokerError('node_lost', `the node that was answering has gone, and the answer was already half sent: ${why}`),
})

/** Everything that the engine says is new. */
const afresh = (begun: Transcript): Splice => ({ begun, pass: (delta) => [delta], usage: (counted) => counted, done: false })

const replayed = (begun: Transcript): Splice => {
  const replay = new Replay(begun.choices)
  return {
    begun,
    pass(delta) {
      const fresh = replay.pass(delta)
      return fresh ? [fresh] : []
    },
    usage: (counted) => counted,
    done: false,
  }
}

/** Why it ended was sent, of each of its choices. */
const isFinished = ({ choices }: Transcript): boolean => choices.length > 0 && choices.every(([, { finish }]) => finish)

/** The engine counts what it was given as its prompt, and only what it adds as its answer. */
const continued = (request: GenerationRequest, begun: Transcript, full: boolean): Splice => {
  const finished = isFinished(begun)
  const sent = begun.choices[0]?.[1].text ?? ''
  const seam = new Seam(stopsOf(request), sent)
  let stopped = false
  const usage = (counted: Usage | undefined): Usage | undefined =>
    counted && {
      promptTokens: Math.max(0, counted.promptTokens - begun.tokens),
      completionTokens: begun.tokens + (full || finished ? 0 : counted.completionTokens),
    }
  return {
    begun,
    pass({ text, usage: counted, ...rest }: Delta) {
      const delta: Delta = { ...rest }
      const whole = usage(counted)
      if (whole) delta.usage = whole
      if (finished) return [{ choice: 0, ...(whole && { usage: whole }) }]
      if (full) return [{ choice: 0, ...(delta.finish && { finish: 'length' }), ...(whole && { usage: whole }) }]
      let out = text === undefined ? '' : seam.take(text)
      if (seam.stopped) {
        stopped = true
        return [{ choice: 0, finish: 'stop' }]
      }
      if (delta.finish) out += seam.flush()
      if (out) delta.text = out
      return [delta]
    },
    usage,
    get done() {
      return stopped
    },
  }
}

/** Why it ended was sent, and that it did was not. */
const finished = (request: GenerationRequest, begun: Transcript): Exchange => {
  const { contentType, end } = takenUp(request, begun)
  return { ...withoutCall(end()), contentType, usage: begun.usage }
}

/** The next rung of the ladder that holds: restart, continue, replay and verify, or an honest error. */
export const resumption = (request: ExchangeRequest, { sent, saved }: Begun, successor: Successor): Resumption => {
  if (!isGeneration(request)) return impossible('its answer is one body')
  const begun = saved ? savedTranscript(request, saved) : readTranscript(request, sent)
  const later = { ...request, createdAt: begunAt(begun) ?? request.createdAt }
  if (begun.ended) return { kind: 'complete', ...(begun.usage && { usage: begun.usage }) }
  if (!begun.whole) return impossible('it stopped in the middle of an event')
  const choices = begun.choices.map(([, choice]) => choice)
  if (choices.every(({ text, thinking, tools, finish }) => text === '' && thinking === '' && tools.texts().length === 0 && !finish))
    return { kind: 'resumed', rung: 'restart', exchange: () => rewritten(later, routeOf(later), later.stream, afresh(begun)) }
  const way = successor.sameModel ? continuation(later, begun, successor) : undefined
  // How many tokens it was, if that is to be told, is known to who could go on.
  if (isFinished(begun) && !(way && wantsUsage(later) && !begun.usage)) return { kind: 'resumed', rung: 'continue', exchange: () => finished(later, begun) }
  if (!successor.sameModel) return impossible('no node that is free has the same model')
  const deterministic = isDeterministic(later)
  // What a model has thought does not stand in the prompt of who goes on, so the same text is better made again.
  const thought = choices.some(({ thinking }) => thinking !== '')
  if (way && (!(thought && deterministic) || isFinished(begun))) {
    const { render, route, full } = way
    return {
      kind: 'resumed',
      rung: 'continue',
      ...(render && { render }),
      exchange: (prompt = '') => rewritten(later, route(prompt), later.stream, continued(later, begun, full)),
    }
  }
  if (deterministic) return { kind: 'resumed', rung: 'replay', exchange: () => rewritten(later, routeOf(later), later.stream, replayed(begun)) }
  return impossible('it cannot be continued, and to make it again would give another one')
}
