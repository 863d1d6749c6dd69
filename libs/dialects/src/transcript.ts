import type { Saved, Usage } from '@drover/core'
import { Collected, type Choice } from './collect.ts'
import { isObject, type Delta, type JsonObject } from './delta.ts'
import { cutterOf, readerOf } from './engine-side.ts'
import { isNative, type GenerationRequest } from './route.ts'

/** What an answer has said before the attempt that made it was lost. */
export interface Transcript {
  /** Its first event, which says who answers. */
  first: JsonObject | undefined
  deltas: readonly Delta[]
  choices: readonly (readonly [index: number, choice: Choice])[]
  /** Tokens that were made: engines send an event for each, but for those that share a character. */
  tokens: number
  /** The end event was sent. */
  ended: boolean
  usage: Usage | undefined
  /** It stops between two events: nothing of the next one was sent. */
  whole: boolean
}

const says = ({ text, thinking, tools }: Delta): boolean => text !== undefined || thinking !== undefined || tools !== undefined

/** What a client has been sent, in its own dialect. */
export const readTranscript = (request: GenerationRequest, sent: string): Transcript => {
  const { dialect, id } = request
  const reader = readerOf(dialect, request)
  const collected = new Collected(id)
  const deltas: Delta[] = []
  let first: JsonObject | undefined
  let tokens = 0
  cutterOf(dialect).push(sent, (_raw, data) => {
    const event = reader.see(data)
    if (!event) return
    // An event that says nothing yet opens the answer none the less.
    const said = reader.read(event)
    if (!first && said.length === 0) deltas.push({ choice: 0 })
    first ??= event
    deltas.push(...said)
    for (const delta of said) collected.add(delta)
    if (said.some(says)) tokens += 1
  })
  const whole = sent === '' || sent.endsWith(isNative(dialect) ? '\n' : '\n\n')
  return { first, deltas, choices: collected.choices(), tokens, ended: reader.ended, usage: reader.usage, whole }
}

/** What was kept of an answer that is one body. */
export const savedTranscript = ({ id }: GenerationRequest, { text, thinking, tokens }: Saved): Transcript => {
  const collected = new Collected(id)
  const delta: Delta = { choice: 0 }
  if (text) delta.text = text
  if (thinking) delta.thinking = thinking
  collected.add(delta)
  return { first: undefined, deltas: [delta], choices: collected.choices(), tokens, ended: false, usage: undefined, whole: true }
}

/** When the answer began, epoch ms, where its first event tells: its later events say the same. */
export const begunAt = ({ first = {} }: Transcript): number | undefined => {
  const { created, response } = first
  const seconds = isObject(response) ? response['created_at'] : created
  return typeof seconds === 'number' ? seconds * 1000 : undefined
}
