import { connect, type Socket } from 'node:net'

/** A lender as it is reached. */
export interface LineEnd {
  node: string
  host: string
  port: number
}

/** How often it is asked, ms. */
const ASK_MS = 500
/** Who has not answered for so long cannot be reached, ms. */
const SILENCE_MS = 3_000
/** A line that is down is tried again after this, ms. */
const AGAIN_MS = 1_000
const MOST_NAME = 256

interface Line {
  end: LineEnd
  socket: Socket
  /** What is there has said its name, which is the right one. */
  named: boolean
  /** And has answered. */
  up: boolean
  /** Of the last question, while it is not answered. */
  askedAt: number | undefined
  heardAt: number
  /** Least time that an answer took, ms. */
  rttMs: number | undefined
  said: string
}

const keyOf = ({ node, host, port }: LineEnd): string => `${node} ${host}:${port}`

/**
 * The lines to those who lend: whether each can be reached, and how far it is. A cut line tells nothing of itself, and what a coordinator
 * waits for over it never comes; so each is asked all the time, beside the work.
 */
export class Lines {
  #lines = new Map<string, Line>()
  #wanted = new Map<string, LineEnd>()
  #timer: NodeJS.Timeout
  #beforeAt = performance.now()
  #onDown: (node: string) => void
  #onUp: () => void

  /** `onDown` is called with a node whose line was up and is still wanted; `onUp` when one has come up. */
  constructor(onDown: (node: string) => void, onUp: () => void) {
    this.#onDown = onDown
    this.#onUp = onUp
    this.#timer = setInterval(() => this.#ask(), ASK_MS)
  }

  /** From now on there are lines to these, and to no others. */
  want(ends: readonly LineEnd[]): void {
    this.#wanted = new Map(ends.map((end) => [keyOf(end), end]))
    for (const [key, line] of this.#lines) if (!this.#wanted.has(key)) this.#end(key, line)
    for (const [key, end] of this.#wanted) if (!this.#lines.has(key)) this.#open(key, end)
  }

  /** Round trip to a node, ms; `undefined`: it cannot be reached. */
  rttOf(node: string): number | undefined {
    for (const { end, up, rttMs } of this.#lines.values()) if (end.node === node && up) return rttMs
    return undefined
  }

  #open(key: string, end: LineEnd): void {
    const socket = connect({ host: end.host, port: end.port, noDelay: true })
    const line: Line = { end, socket, named: false, up: false, askedAt: undefined, heardAt: performance.now(), rttMs: undefined, said: '' }
    this.#lines.set(key, line)
    socket.on('data', (bytes) => this.#hear(line, bytes.toString('latin1')))
    socket.on('error', () => undefined)
    socket.on('close', () => this.#lost(key, line))
  }

  #hear(line: Line, text: string): void {
    const now = performance.now()
    line.heardAt = now
    if (!line.named) {
      line.said += text
      const [name, more] = line.said.split('\n')
      if (line.said.length > MOST_NAME || (more !== undefined && name !== line.end.node)) return void line.socket.destroy()
      if (more === undefined) return
      line.named = true
      return this.#askOne(line, now)
    }
    if (line.askedAt === undefined) return
    line.rttMs = Math.min(line.rttMs ?? Infinity, now - line.askedAt)
    line.askedAt = undefined
    if (line.up) return
    line.up = true
    this.#onUp()
  }

  #askOne(line: Line, now: number): void {
    line.askedAt ??= now
    line.socket.write('.')
  }

  #ask(): void {
    const now = performance.now()
    // Who could not listen has heard nothing.
    const late = Math.max(0, now - this.#beforeAt - ASK_MS)
    this.#beforeAt = now
    for (const line of this.#lines.values()) {
      line.heardAt += late
      if (now - line.heardAt > SILENCE_MS) line.socket.destroy()
      else if (line.named && line.askedAt === undefined) this.#askOne(line, now)
    }
  }

  /** It is closed: opened again later if it is still wanted. */
  #lost(key: string, line: Line): void {
    if (this.#lines.get(key) !== line) return
    const wasUp = line.up
    line.up = false
    if (wasUp) this.#onDown(line.end.node)
    setTimeout(() => {
      if (this.#lines.get(key) !== line) return
      this.#lines.delete(key)
      const end = this.#wanted.get(key)
      if (end) this.#open(key, end)
    }, AGAIN_MS).unref()
  }

  #end(key: string, line: Line): void {
    this.#lines.delete(key)
    line.socket.destroy()
  }

  close(): void {
    clearInterval(this.#timer)
    for (const { socket } of this.#lines.values()) socket.destroy()
    this.#lines.clear()
  }
}
