import { keyOfPrompt, readPartial, token, type Partial } from './tokens.ts'
import { readMarker, type Script } from './script.ts'

export interface Message {
  role: string
  content: string
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/** The text of a message's content: a string, or text parts. */
const textOf = (content: unknown): string => {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((part: unknown) => (isObject(part) && typeof part['text'] === 'string' ? part['text'] : '')).join('')
}

export const readMessages = (messages: unknown): Message[] =>
  Array.isArray(messages)
    ? messages.filter(isObject).map(({ role, content }) => ({ role: String(role).toLowerCase(), content: textOf(content) }))
    : []

const ASSISTANT = '<|assistant|>\n'

/** The chat as the model's template writes it; a trailing assistant message stays open where the model continues it. */
export const render = (messages: Message[], continues: boolean): string => {
  const last = messages.at(-1)
  const open = continues && last?.role === 'assistant'
  const closed = open ? messages.slice(0, -1) : messages
  const turns = closed.map(({ role, content }) => `<|${role}|>\n${content}<|end|>\n`).join('')
  return turns + ASSISTANT + (open ? last.content : '')
}

/** Whose tokens a prompt asks for, how many it has already, and what it wants to happen. */
export interface Wanted {
  key: string
  script: Script
  partial: Partial
}

const NOTHING: Partial = { have: 0, rest: '' }

export const wantedOfChat = (messages: Message[], continues: boolean): Wanted => {
  const prompt = messages.findLast(({ role }) => role === 'user')?.content ?? ''
  const { key, script } = readMarker(prompt) ?? { key: keyOfPrompt(prompt), script: {} }
  const last = messages.at(-1)
  const partial = continues && last?.role === 'assistant' ? readPartial(key, last.content) : undefined
  return { key, script, partial: partial ?? NOTHING }
}

/** A prompt that the engine does not render: a partial answer may stand at its end. */
export const wantedOfRaw = (prompt: string): Wanted => {
  const { key, script } = readMarker(prompt) ?? { key: keyOfPrompt(prompt), script: {} }
  const afterTurn = prompt.slice(prompt.lastIndexOf(ASSISTANT) + ASSISTANT.length)
  if (prompt.includes(ASSISTANT)) return { key, script, partial: readPartial(key, afterTurn) ?? NOTHING }
  const start = prompt.lastIndexOf(token(key, 0))
  const partial = start < 0 ? undefined : readPartial(key, prompt.slice(start))
  return { key, script, partial: partial ?? NOTHING }
}

/** A prompt's length in tokens, roughly as a model counts. */
export const promptTokens = (text: string): number => Math.ceil(text.length / 4) + 1
