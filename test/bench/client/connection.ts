import { connect, type Socket } from 'node:net'

/** Who reads an answer. Text is bytes as Latin-1: its length is the length on the wire, and making it costs least. */
export interface AnswerReader {
  head(status: number): void
  text(latin1: string, now: number): void
  /** The body has ended as HTTP says. */
  over(now: number): void
  broken(reason: string): void
}

/** Reads happen one at a time and are used up at once, so all connections share one buffer. */
const shared = Buffer.allocUnsafe(256 * 1024)

type State = 'idle' | 'head' | 'size' | 'chunk' | 'chunk-end' | 'last' | 'body'

/** One kept HTTP/1.1 connection, one request at a time: just enough of a parser to cost less than what it measures. */
export class Connection {
  readonly #socket: Socket
  readonly #onIdle: (connection: Connection) => void
  readonly #onClosed: (connection: Connection) => void
  #reader: AnswerReader | undefined
  #state: State = 'idle'
  #carry = ''
  #left = 0

  constructor(host: string, port: number, onIdle: (connection: Connection) => void, onClosed: (connection: Connection) => void) {
    this.#onIdle = onIdle
    this.#onClosed = onClosed
    const onread = { buffer: shared, callback: (length: number) => (this.#take(shared.toString('latin1', 0, length)), true) }
    this.#socket = connect({ host, port, noDelay: true, onread })
    this.#socket.on('error', (error) => this.#break(error.message))
    this.#socket.on('close', () => this.#break('the connection closed'))
  }

  ask(request: string, reader: AnswerReader): void {
    this.#reader = reader
    this.#state = 'head'
    this.#socket.write(request, 'latin1')
  }

  close(): void {
    this.#reader = undefined
    this.#socket.destroy()
  }

  #break(reason: string): void {
    const reader = this.#reader
    this.#reader = undefined
    this.#socket.destroy()
    this.#onClosed(this)
    reader?.broken(reason)
  }

  #take(read: string): void {
    const now = performance.now()
    const text = this.#carry === '' ? read : this.#carry + read
    this.#carry = ''
    let at = 0
    while (at < text.length && this.#reader) {
      const reader = this.#reader
      switch (this.#state) {
        case 'head': {
          const end = text.indexOf('\r\n\r\n', at)
          if (end < 0) return void (this.#carry = text.slice(at))
          const head = text.slice(at, end).toLowerCase()
          at = end + 4
          reader.head(Number(head.slice(9, 12)))
          if (head.includes('\r\ntransfer-encoding: chunked')) this.#state = 'size'
          else {
            this.#left = Number(/\r\ncontent-length: *(\d+)/.exec(head)?.[1] ?? 0)
            this.#state = 'body'
            if (this.#left === 0) this.#end(now)
          }
          break
        }
        case 'size': {
          const end = text.indexOf('\r\n', at)
          if (end < 0) return void (this.#carry = text.slice(at))
          this.#left = Number.parseInt(text.slice(at, end), 16)
          at = end + 2
          this.#state = this.#left === 0 ? 'last' : 'chunk'
          break
        }
        case 'chunk': {
          const end = Math.min(at + this.#left, text.length)
          this.#left -= end - at
          reader.text(text.slice(at, end), now)
          at = end
          if (this.#left === 0) this.#state = 'chunk-end'
          break
        }
        case 'chunk-end':
        case 'last':
          if (text.length < at + 2) return void (this.#carry = text.slice(at))
          at += 2
          if (this.#state === 'last') this.#end(now)
          else this.#state = 'size'
          break
        case 'body': {
          const end = Math.min(at + this.#left, text.length)
          this.#left -= end - at
          reader.text(text.slice(at, end), now)
          at = end
          if (this.#left === 0) this.#end(now)
          break
        }
        case 'idle':
          return this.#break('bytes behind the end of an answer')
        default:
          this.#state satisfies never
      }
    }
  }

  #end(now: number): void {
    const reader = this.#reader
    this.#reader = undefined
    this.#state = 'idle'
    this.#onIdle(this)
    reader?.over(now)
  }
}

/** Connections to one server, kept between requests. */
export class Connections {
  readonly host: string
  readonly #port: number
  readonly #idle: Connection[] = []
  readonly #all = new Set<Connection>()

  constructor(url: string) {
    const { hostname, port } = new URL(url)
    this.host = hostname
    this.#port = Number(port)
  }

  ask(request: string, reader: AnswerReader): void {
    let connection = this.#idle.pop()
    if (!connection) {
      const closed = (it: Connection) => {
        this.#all.delete(it)
        const place = this.#idle.indexOf(it)
        if (place >= 0) this.#idle.splice(place, 1)
      }
      connection = new Connection(this.host, this.#port, (it) => void this.#idle.push(it), closed)
      this.#all.add(connection)
    }
    connection.ask(request, reader)
  }

  close(): void {
    for (const connection of this.#all) connection.close()
    this.#all.clear()
    this.#idle.length = 0
  }
}
