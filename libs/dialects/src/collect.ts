import { BrokerError, type Usage } from '@drover/core'
import type { Delta, Finish, Timings, TokenLogprob } from './delta.ts'
import { ToolCalls } from './tool-calls.ts'

/** Most characters of text and thoughts of one answer that is sent as one body. */
const ANSWER_CHARS = 64 * 1024 * 1024

/** Most tokens of one answer whose log probabilities are kept. */
const ANSWER_LOGPROBS = 1_000_000

/** One of the `n` answers. */
export interface Choice {
  text: string
  thinking: string
  tools: ToolCalls
  logprobs: TokenLogprob[]
  finish: Finish | undefined
}

/** A whole answer, put together from its deltas. */
export class Collected {
  usage: Usage | undefined
  timings: Timings | undefined
  readonly #choices = new Map<number, Choice>()
  readonly #id: string
  #chars = 0
  #logprobs = 0

  constructor(id: string) {
    this.#id = id
  }

  choice(index: number): Choice {
    const known = this.#choices.get(index)
    if (known) return known
    const tools = new ToolCalls(`${this.#id}${index || ''}`)
    const choice: Choice = { text: '', thinking: '', tools, logprobs: [], finish: undefined }
    this.#choices.set(index, choice)
    return choice
  }

  choices(): [index: number, choice: Choice][] {
    return [...this.#choices].toSorted(([a], [b]) => a - b)
  }

  /** @throws BrokerError `answer_too_large` */
  add({ choice: index, text = '', thinking = '', tools, logprobs, finish, usage, timings }: Delta): void {
    const choice = this.choice(index)
    this.#chars += text.length + thinking.length
    this.#logprobs += logprobs?.length ?? 0
    if (this.#chars > ANSWER_CHARS || this.#logprobs > ANSWER_LOGPROBS)
      throw new BrokerError('answer_too_large', 'the answer is too long to be sent as one body; ask for a stream')
    choice.text += text
    choice.thinking += thinking
    if (tools) choice.tools.add(tools)
    if (logprobs) choice.logprobs.push(...logprobs)
    if (finish) choice.finish = finish
    if (usage) this.usage = usage
    if (timings) this.timings = timings
  }
}
