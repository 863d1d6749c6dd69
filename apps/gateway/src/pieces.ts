import type { FrameSink } from '@drover/broker'
import { BrokerError, toBrokerError, type Frame, type TerminalRecord } from '@drover/core'
import type { Inputs } from '@drover/dialects'
import type { Followed } from './reply.ts'

/** Below this weight (`Inputs.weights`) a piece costs more than it saves. */
const LEAST_WEIGHT = 16_000
/** Most inputs of a piece: an answer must fit a job's log. */
const MOST_INPUTS = 64
/** Pieces for each free slot, so that a fast node does more of them than a slow one. */
const PER_SLOT = 2
/** Most pieces of one request that are under way at once. */
const MOST_AT_ONCE = 64
/** Most characters of all answers together. */
const ANSWER_CHARS = 128 * 1024 * 1024

/** Inputs from the first number to before the second. */
export type Cut = readonly [from: number, to: number]

/** Neighbours of about the same weight in all, and as many pieces as are of use to so many slots. */
export const cutInputs = (weights: readonly number[], slots: number): Cut[] => {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const wanted = Math.max(1, Math.min(weights.length, PER_SLOT * slots, Math.floor(total / LEAST_WEIGHT)))
  const cuts: Cut[] = []
  let from = 0
  let before = 0
  let share = 0
  for (const [i, weight] of weights.entries()) {
    const middle = Math.min(wanted - 1, Math.floor(((before + weight / 2) / total) * wanted))
    if (i > from && (middle !== share || i - from >= MOST_INPUTS)) {
      cuts.push([from, i])
      from = i
    }
    share = middle
    before += weight
  }
  return [...cuts, [from, weights.length]]
}

export interface PiecesOptions {
  inputs: Inputs
  cuts: readonly Cut[]
  /** Free slots, as far as is known. */
  slots: number
  /** From now to the end of all at the latest, ms. */
  timeoutMs: number
  /** Puts one piece on its lane. @throws BrokerError if it is not accepted */
  submit(body: string, timeoutMs: number, sink: FrameSink): Promise<Followed>
  /** Gets one head, and one text with the end. */
  sink: FrameSink
}

interface Piece {
  /** Its job, once that is accepted. */
  followed?: Followed
  attempt: number
  node?: string
  contentType?: string
  texts: string[]
  record?: TerminalRecord
}

/**
 * One request as several jobs side by side: their answers are joined in the order of their inputs; the first that fails fails the
 * whole, and the others are left. Pieces are submitted a window at a time, so that one large request does not fill a lane.
 */
export class Pieces implements Followed {
  #options: PiecesOptions
  #pieces: Piece[]
  #next = 0
  #running = 0
  #chars = 0
  #over = false
  #begunAt = performance.now()

  constructor(options: PiecesOptions) {
    this.#options = options
    this.#pieces = options.cuts.map(() => ({ attempt: 0, texts: [] }))
  }

  /** @throws BrokerError when the first piece is not accepted: then none is */
  async start(): Promise<void> {
    await this.#submit()
    this.#pump()
  }

  // The answer is sent whole, when nothing more comes.
  pause(): void {}
  resume(): void {}

  async leave(): Promise<void> {
    this.#over = true
    await Promise.all(this.#pieces.map(({ followed, record }) => (record ? undefined : followed?.leave())))
  }

  #pump(): void {
    const width = Math.min(MOST_AT_ONCE, PER_SLOT * Math.max(1, this.#options.slots))
    while (!this.#over && this.#running < width && this.#next < this.#pieces.length)
      void this.#submit().catch((error: unknown) => this.#fail(() => this.#options.sink.lost(toBrokerError(error))))
  }

  async #submit(): Promise<void> {
    const { inputs, cuts, submit, timeoutMs } = this.#options
    const index = this.#next++
    const piece = this.#pieces[index]
    const cut = cuts[index]
    if (!piece || !cut) return
    this.#running += 1
    const left = Math.max(1, Math.round(timeoutMs - (performance.now() - this.#begunAt)))
    const followed = await submit(JSON.stringify(inputs.part(...cut)), left, {
      frame: (frame, attempt) => this.#frame(piece, frame, attempt),
      lost: (error) => this.#fail(() => this.#options.sink.lost(error)),
    })
    piece.followed = followed
    if (this.#over && !piece.record) await followed.leave().catch(() => undefined)
  }

  #frame(piece: Piece, { reset, resumed, head, text, end }: Frame, attempt: number): void {
    if (this.#over) return
    if (resumed) this.#options.sink.frame({ resumed }, attempt)
    piece.attempt = attempt
    if (reset) {
      for (const each of piece.texts) this.#chars -= each.length
      piece.texts = []
    }
    if (head) {
      piece.node = head.node
      piece.contentType = head.contentType
    }
    if (text !== undefined) {
      piece.texts.push(text)
      this.#chars += text.length
      if (this.#chars > ANSWER_CHARS) return this.#fail(() => this.#options.sink.lost(tooLarge()))
    }
    if (!end) return
    piece.record = end
    this.#running -= 1
    if (end.outcome !== 'completed') return this.#fail(() => this.#end([piece], end, ''))
    if (this.#pieces.every(({ record }) => record)) this.#finish(end)
    else this.#pump()
  }

  #finish(last: TerminalRecord): void {
    this.#over = true
    const pieces = this.#pieces
    const parts = pieces.map(({ texts }) => texts.join(''))
    const usage = { promptTokens: 0, completionTokens: 0 }
    for (const { record } of pieces) {
      usage.promptTokens += record?.usage?.promptTokens ?? 0
      usage.completionTokens += record?.usage?.completionTokens ?? 0
    }
    this.#end(pieces, { ...last, usage }, this.#options.inputs.join(parts, performance.now() - this.#begunAt))
  }

  /** One frame that says all: who answered, what, and how it ended. */
  #end(pieces: readonly Piece[], end: TerminalRecord, text: string): void {
    const nodes = [...new Set(pieces.flatMap(({ node }) => node ?? []))]
    const [contentType] = pieces.flatMap((piece) => piece.contentType ?? [])
    const attempt = Math.max(...pieces.map((piece) => piece.attempt))
    const head = contentType === undefined ? {} : { head: { status: 200, contentType, node: nodes.join(', ') } }
    this.#options.sink.frame({ ...head, text, end }, attempt)
  }

  #fail(tell: () => void): void {
    if (this.#over) return
    void this.leave().catch(() => undefined)
    tell()
  }
}

const tooLarge = () =>
  new BrokerError('answer_too_large', `the embeddings are longer than ${ANSWER_CHARS} characters together; send fewer inputs at a time, or ask for base64`)
