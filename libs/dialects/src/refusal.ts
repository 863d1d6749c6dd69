import { BrokerError, canonicalName } from '@drover/core'
import { isObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { errorText } from './engine-event.ts'

/** Longest engine error body that is handed on. */
const BODY_CHARS = 8 * 1024

/** What llama-server answers with 5xx although the request is at fault: on another attempt it would say the same. Ollama hands on its body as a text. */
const WRONG_REQUEST = /^(\{"error":\{"code":500,"message":")?(image|audio|video) input is not supported/

const parse = (body: string): unknown => {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** Whether an error is in Anthropic's form: llama-server answers in OpenAI's on that route, too. */
export const isAnthropicError = (body: string): boolean => {
  const value = parse(body)
  return isObject(value) && value['type'] === 'error'
}

/** A non-200 answer of an engine. `keepBody`: the client reads errors in the engine's own form. */
export const refusalOf = (status: number, body: string, keepBody: boolean): BrokerError => {
  const value = parse(body)
  const error = isObject(value) ? value['error'] : undefined
  const known = typeof error === 'string' || isObject(error)
  const message = known ? errorText(error) : body.trim().slice(0, 200) || `the engine answered with status ${status}`
  if (status < 400 || status > 599) return new BrokerError('engine_protocol', `the engine answered with status ${status}`)
  const wrong = WRONG_REQUEST.test(message)
  const refused = status < 500 || status === 501 || wrong
  return new BrokerError(refused ? 'engine_refused' : 'engine_failed', message, {
    // Clients repeat what was answered with 5xx.
    status: wrong ? 400 : status,
    ...(keepBody && known && body.length <= BODY_CHARS ? { body } : {}),
  })
}

/** An Ollama's error with the model's name as the client wrote it, which is how an Ollama names a model: it was asked by its own name for it. */
export const inClientsName = (body: string, { asked, engine }: ExchangeRequest): string => {
  if (engine.kind !== 'ollama' || asked === engine.model) return body
  const name = JSON.stringify(asked).slice(1, -1)
  return body.replaceAll(`\\"${engine.model}\\"`, () => `\\"${name}\\"`).replaceAll(`'${engine.model}'`, () => `'${name}'`)
}

/** A model as Ollama names it when it says what the model cannot do. */
const fullName = (asked: string): string => {
  const name = canonicalName(asked) ?? asked
  const parts = name.split('/').length
  return parts === 1 ? `registry.ollama.ai/library/${name}` : parts === 2 ? `registry.ollama.ai/${name}` : name
}

/** What an engine cannot do, or would pass over without a word although it decides about the answer; in Ollama's words. */
export const unsupported = (asked: string, what: string): BrokerError =>
  new BrokerError('engine_refused', `${fullName(asked)} does not support ${what}`, { status: 400 })
