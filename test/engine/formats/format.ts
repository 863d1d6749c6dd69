/** How a run came to its end, and what it counted. */
export interface Ending {
  reason: 'stop' | 'length'
  promptTokens: number
  tokens: number
  loadMs: number
  promptMs: number
  decodeMs: number
  totalMs: number
}

/** One answer on the wire. Token texts never need JSON's escapes. */
export interface AnswerFormat {
  streamType: string
  /** What comes with the header, before any token. */
  begin: string
  token(text: string): string
  /** Finish events and end marker. */
  end(ending: Ending): string
  /** An error event; the stream ends behind it, without an end marker. */
  error(message: string): string
  /** A line that is not the protocol. */
  garbage: string
  /** The answer as one body; without an ending, as an engine that stopped by itself shows it. */
  body(text: string, ending: Ending | undefined): string
}

let second = 0
let prefix = ''

/** Now, as RFC 3339 with microseconds: the moment an event is written, by the clock that `stats` shows. */
export const timestamp = (): string => {
  const now = performance.timeOrigin + performance.now()
  const whole = Math.floor(now / 1000)
  if (whole !== second) {
    second = whole
    prefix = new Date(whole * 1000).toISOString().slice(0, 20)
  }
  return `${prefix}${String(Math.floor((now - whole * 1000) * 1000)).padStart(6, '0')}Z`
}

export const epochSeconds = (): number => Math.floor(Date.now() / 1000)

export const sse = (data: string): string => `data: ${data}\n\n`
