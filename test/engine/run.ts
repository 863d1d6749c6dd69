import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Due, Pacer } from './pacer.ts'
import { JSON_TYPE, send } from './answer.ts'
import { endOf, faultsOf, type Fault, type RunPlan } from './run-plan.ts'
import { tokensOf } from './tokens.ts'

/** Tokens written at once where no rate is set: each is an event of its own, the batch is one chunk. */
const BATCH = 16
const SPLIT_MS = 20
const GIANT = 9 * 1024 * 1024

export interface RunHost {
  pacer: Pacer
  die(): void
  /** Called once, when the run is over. */
  over(end: string): void
}

/** One generation: from the granted slot to the answer's end, on the schedule and with the faults that its script sets. */
export class Run implements Due {
  readonly key: string
  readonly stream: boolean
  over = false
  readonly #plan: RunPlan
  readonly #host: RunHost
  readonly #response: ServerResponse
  readonly #tokens: (i: number) => string
  readonly #until: number
  readonly #reason: 'stop' | 'length'
  readonly #last: string | undefined
  readonly #faults: Fault[]
  readonly #interval: number
  #next: number
  #base: number
  #baseTime = 0
  #began = 0
  #text = ''
  #waits: 'hold' | 'stall' | undefined
  #released = false
  #half: Buffer | undefined
  #corked: Socket | undefined

  constructor(plan: RunPlan, host: RunHost, response: ServerResponse) {
    this.#plan = plan
    this.#host = host
    this.#response = response
    this.key = plan.key
    this.stream = plan.stream
    this.#tokens = tokensOf(plan.key)
    const { until, reason, last } = endOf(plan, this.#tokens)
    this.#until = until
    this.#reason = reason
    this.#last = last
    this.#next = this.#base = plan.partial.rest === '' ? plan.partial.have : plan.partial.have - 1
    this.#faults = faultsOf(plan.script, plan.partial.have, plan.stream)
    this.#interval = plan.script.rate ? 1000 / plan.script.rate : 0
  }

  start() {
    const { script } = this.#plan
    if (script.silent) return
    if (script.hold && !this.#released) this.#waits = 'hold'
    else if (script.first_ms) this.#host.pacer.at(this.#host.pacer.now() + script.first_ms, this)
    else this.due(this.#host.pacer.now())
  }

  /** Lets go of a hold or a stall, and of those that are still to come. */
  release() {
    this.#released = true
    if (this.#waits === undefined) return
    this.#waits = undefined
    this.#base = this.#next
    this.#baseTime = 0
    this.due(this.#host.pacer.now())
  }

  /** The client has closed. */
  abort() {
    this.#end('aborted')
  }

  due(now: number): void {
    if (this.over || this.#waits) return
    const { format, stats } = this.#plan
    const socket = this.stream ? this.#response.socket : null
    if (this.stream && !socket) return
    if (socket?.writableNeedDrain) {
      socket.once('drain', () => this.due(this.#host.pacer.now()))
      return
    }
    if (this.#began === 0) this.#begin(now)
    if (this.#baseTime === 0) this.#baseTime = now
    if (this.#half) this.#sendHalf()

    const gate = this.#faults[0]?.at ?? Infinity
    const ready = this.#interval > 0
      ? this.#base + Math.floor((now - this.#baseTime) / this.#interval) + 1
      : this.stream ? this.#next + BATCH : Infinity
    const target = Math.min(this.#until, gate, ready)
    let out = ''
    stats.tokens += Math.max(0, target - this.#next)
    if (this.stream) while (this.#next < target) out += format.token(this.#piece(this.#next++))
    else while (this.#next < target) this.#text += this.#piece(this.#next++)
    if (this.#next >= gate) {
      if (out) this.#write(out)
      return this.#fault(now)
    }
    if (this.#next >= this.#until) return this.#finish(out)
    if (out) this.#write(out)
    if (this.#interval > 0) this.#host.pacer.at(this.#baseTime + (this.#next - this.#base) * this.#interval, this)
    else this.#host.pacer.soon(this)
  }

  #piece(i: number): string {
    if (i < this.#plan.partial.have) return this.#plan.partial.rest
    return this.#last !== undefined && i === this.#until - 1 ? this.#last : this.#tokens(i)
  }

  #begin(now: number) {
    this.#began = now
    if (!this.stream) return
    const { format } = this.#plan
    this.#response.writeHead(200, { 'content-type': format.streamType, 'transfer-encoding': 'chunked' })
    this.#corked = this.#response.socket ?? undefined
    this.#corked?.cork() // header and first tokens in one packet
    this.#response.flushHeaders()
    if (format.begin) this.#write(format.begin)
    process.nextTick(() => this.#uncork())
  }

  #uncork() {
    this.#corked?.uncork()
    this.#corked = undefined
  }

  /**
   * Writes one chunk past ServerResponse, which makes four writes of it. Its header is out and says chunked, so that `end()`
   * still adds the last chunk.
   */
  #write(data: string | Buffer) {
    const socket = this.#response.socket
    if (!socket || socket.destroyed) return
    if (typeof data === 'string') {
      const size = Buffer.byteLength(data)
      socket.write(`${size.toString(16)}\r\n${data}\r\n`, size === data.length ? 'latin1' : 'utf8') // latin1 costs less
    } else {
      socket.write(Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')]))
    }
  }

  #fault(now: number): void {
    const fault = this.#faults.shift()
    if (!fault) return
    const { format, script } = this.#plan
    switch (fault.kind) {
      case 'stall':
        if (this.#released) return this.due(now)
        this.#waits = 'stall'
        if (script.stall_ms !== undefined) setTimeout(() => this.release(), script.stall_ms).unref()
        return
      case 'die':
        this.#uncork()
        this.#end('died')
        return this.#host.die()
      case 'cut':
        this.#uncork() // what was decoded before is sent
        this.#response.socket?.destroy()
        return this.#end('cut')
      case 'eof':
        if (this.stream) this.#response.end()
        else this.#sendBody(format.body(this.#text, undefined))
        return this.#end('eof')
      case 'error':
        if (this.stream) {
          this.#write(format.error('an error was encountered while running the model: scripted failure'))
          this.#response.end()
        } else this.#sendBody(format.error('scripted failure').replace(/^data: /, '').trimEnd(), 500)
        return this.#end('error')
      case 'garbage':
        this.#write(format.garbage)
        return this.due(now)
      case 'giant':
        this.#write('x'.repeat(GIANT))
        return this.due(now)
      case 'split':
      case 'bad_byte':
        return this.#mangled(fault.kind)
      default:
        fault.kind satisfies never
    }
  }

  /** Sends the next token cut inside a character, or with a byte that is not UTF-8. */
  #mangled(kind: 'split' | 'bad_byte'): void {
    if (this.#next >= this.#until) return this.due(this.#host.pacer.now())
    const piece = this.#piece(this.#next++)
    const text = this.#plan.format.token(piece)
    const event = Buffer.from(text)
    this.#plan.stats.tokens++
    const place = event.findIndex((byte) => byte >= 0x80)
    if (kind === 'bad_byte') {
      const behind = Buffer.byteLength(text.slice(0, text.indexOf(piece) + piece.length))
      this.#write(Buffer.concat([event.subarray(0, behind), Buffer.from([0xff]), event.subarray(behind)]))
    } else if (place >= 0) {
      this.#write(event.subarray(0, place + 1))
      this.#half = event.subarray(place + 1)
    } else this.#write(event)
    this.#host.pacer.at(this.#host.pacer.now() + Math.max(SPLIT_MS, this.#interval), this)
  }

  #sendHalf() {
    if (this.#half) this.#write(this.#half)
    this.#half = undefined
  }

  #finish(out: string) {
    const { format, promptTokens, loadMs, since, stats } = this.#plan
    const now = this.#host.pacer.now()
    const ending = {
      reason: this.#reason,
      promptTokens,
      tokens: stats.tokens,
      loadMs,
      promptMs: Math.max(0.001, this.#began - since - loadMs),
      decodeMs: Math.max(0.001, now - this.#began),
      totalMs: now - since,
    }
    if (this.stream) {
      const { socket } = this.#response
      socket?.cork()
      this.#write(out + format.end(ending))
      this.#response.end()
      socket?.uncork()
      if (this.#plan.closes) socket?.destroySoon()
    } else this.#sendBody(format.body(this.#text, ending))
    this.#end('completed')
  }

  #sendBody(body: string, status = 200) {
    if (this.#response.destroyed) return
    send(this.#response, status, JSON_TYPE, body)
  }

  #end(end: string) {
    if (this.over) return
    this.over = true
    this.#host.over(end)
  }
}
