import { EXIT, ExitError } from '@drover/service'
import { z } from 'zod'
import { ask, type Gateway, jsonOf, readTags, reasonOf } from '../../gateway-client.ts'
import { lines, refusal } from '../lines.ts'
import { notHere } from '../show.ts'

/** An event of `/api/chat`: a piece of the answer, its end with the figures (ns), or the error that it ends with. */
const ChatEvent = z.object({
  message: z.object({ content: z.string().nullish(), thinking: z.string().nullish() }).optional(),
  done: z.boolean().optional(),
  error: z.string().optional(),
  total_duration: z.number().optional(),
  load_duration: z.number().optional(),
  prompt_eval_count: z.number().optional(),
  prompt_eval_duration: z.number().optional(),
  eval_count: z.number().optional(),
  eval_duration: z.number().optional(),
})
export type ChatEvent = z.infer<typeof ChatEvent>

/** Where an answer goes while it comes. */
export interface AnswerView {
  line(text: string): void
  text(piece: string): void
  thinking(piece: string): void
}

/** A whole answer. */
export interface Answer {
  text: string
  /** The last event, with the figures. */
  end: ChatEvent
  headers: Headers
}

/**
 * Asks, and shows the answer as it comes. Closing the connection, which `signal` does, is what stops the engine.
 * @throws ExitError with one line when it fails, also in the middle; the signal's reason when that ends it
 */
export const answer = async (gateway: Gateway, body: string, signal: AbortSignal, view: AnswerView): Promise<Answer> => {
  const response = await ask(gateway, '/api/chat', { signal, body })
  if (!response.ok) {
    const text = refusal(await response.text())
    if (response.status === 404 && text !== '404 page not found') throw notHere(text, await readTags(gateway))
    throw new ExitError(`the gateway at ${gateway.url} refuses (${response.status}): ${text}`, EXIT.failed)
  }
  let text = ''
  try {
    for await (const line of lines(response)) {
      view.line(line)
      const parsed = ChatEvent.safeParse(jsonOf(line))
      if (!parsed.success) throw new ExitError(`what answers at ${gateway.url} sent something that is no event of a chat`, EXIT.failed)
      const event = parsed.data
      if (event.error !== undefined) throw new ExitError(`the answer ended with an error: ${event.error}`, EXIT.failed)
      const { thinking, content } = event.message ?? {}
      if (thinking) view.thinking(thinking)
      if (content) view.text(content)
      text += content ?? ''
      if (event.done === true) return { text, end: event, headers: response.headers }
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason
    throw error instanceof ExitError ? error : new ExitError(`the connection to ${gateway.url} broke before the answer was whole (${reasonOf(error)})`, EXIT.failed)
  }
  throw new ExitError('the answer stopped without its end: it is not whole', EXIT.failed)
}

const ms = (ns = 0): string => `${(ns / 1e6).toFixed(1)} ms`
const rate = (count: number, ns: number | undefined): string => (ns ? `${((count * 1e9) / ns).toFixed(1)} tokens/s` : '-')

/** The figures of an answer for people, in the `ollama` command's words, and where it was made. */
export const figures = ({ end, headers }: Answer): string[] => {
  const { prompt_eval_count: read = 0, eval_count: written = 0 } = end
  const rows: [string, string | null][] = [
    ['total duration', ms(end.total_duration)],
    ['load duration', ms(end.load_duration)],
    ['prompt eval count', `${read} tokens`],
    ['prompt eval rate', rate(read, end.prompt_eval_duration)],
    ['eval count', `${written} tokens`],
    ['eval rate', rate(written, end.eval_duration)],
    ['node', headers.get('x-drover-node')],
    ['attempts', headers.get('x-drover-attempts')],
    ['job', headers.get('x-drover-job')],
  ]
  return rows.flatMap(([name, value]) => (value === null ? [] : [`${`${name}:`.padEnd(20)}${value}`]))
}
