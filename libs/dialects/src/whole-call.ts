import { BrokerError } from '@drover/core'
import type { JsonObject } from './delta.ts'
import type { Exchange } from './dialect.ts'
import { readEvent } from './engine-event.ts'
import { JSON_TYPE } from './engine-side.ts'
import { refusalOf } from './refusal.ts'

/** Most characters of an engine's answer that comes as one body. */
export const BODY_CHARS = 64 * 1024 * 1024

export interface WholeCall {
  path: string
  body: JsonObject
  /** The engine's answer, a JSON object, as the client's body. @throws BrokerError `engine_protocol` for one that is not the API's */
  show(answer: JsonObject): JsonObject
  /** Tokens that were read and written, as the engine counted them. */
  usage?(answer: JsonObject): Exchange['usage']
  /** The client reads errors in the engine's own form. */
  sameErrors: boolean
  /** A refusal whose status or text misleads, as what it means. */
  correct?(refusal: BrokerError): BrokerError
}

/** One call that is answered with one body: embeddings, counts, ranks. */
export const wholeCall = ({ path, body, show, usage, sameErrors, correct = (refusal) => refusal }: WholeCall): Exchange => {
  let whole = ''
  let ended = false
  let used: Exchange['usage']
  return {
    call: { path, body: JSON.stringify(body) },
    contentType: JSON_TYPE,
    get usage() {
      return used
    },
    get ended() {
      return ended
    },
    push(text) {
      whole += text
      if (whole.length > BODY_CHARS) throw new BrokerError('answer_too_large', `the answer is longer than ${BODY_CHARS} characters`)
      return ''
    },
    finish() {
      const answer = readEvent(whole)
      const out = show(answer)
      used = usage?.(answer)
      ended = true
      return JSON.stringify(out)
    },
    refusal: (status, text) => correct(refusalOf(status, text, sameErrors)),
  }
}

/** An answer that needs no engine. */
export const withoutCall = (body: string): Exchange => ({
  call: undefined,
  contentType: JSON_TYPE,
  usage: undefined,
  ended: true,
  push: () => '',
  finish: () => body,
  refusal: (status) => new BrokerError('internal', `no engine was called, yet one answered with status ${status}`),
})
