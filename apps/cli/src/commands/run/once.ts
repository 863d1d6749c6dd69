import { text as readAll } from 'node:stream/consumers'
import type { Message } from './request.ts'

/** Exit code of a program that Ctrl-C has ended. */
const INTERRUPTED = 130

/** What stands on the command line, and behind it what is piped in; `''`: neither. */
export const questionIn = async (prompt: readonly string[]): Promise<string> => {
  const piped = process.stdin.isTTY === true ? '' : await readAll(process.stdin)
  return [prompt.join(' '), piped.trimEnd()].filter(Boolean).join('\n')
}

/** One question. Ctrl-C stops the engine as well as us. */
export const once = async (question: string, reply: (messages: readonly Message[], signal: AbortSignal) => Promise<unknown>): Promise<void> => {
  const interrupted = new AbortController()
  process.once('SIGINT', () => interrupted.abort())
  await reply([{ role: 'user', content: question }], interrupted.signal)
  if (interrupted.signal.aborted) process.exitCode = INTERRUPTED
}
