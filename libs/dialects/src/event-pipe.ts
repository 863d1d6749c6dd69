import type { EventCutter } from './event-stream.ts'

/** Text in, text out, one event at a time. */
export interface EventPipe {
  push(text: string): string
  close(): string
}

/**
 * Cuts text into events and joins what `take` makes of them. What came before a bad event in the same piece is still handed
 * out: the failure is then thrown by the next call. So the outcome does not depend on where the text was cut.
 */
export const eventPipe = (cutter: EventCutter, take: (raw: string, data: string) => string): EventPipe => {
  let out = ''
  let failure: { error: unknown } | undefined
  const each = (raw: string, data: string) => {
    out += take(raw, data)
  }
  const run = (feed: () => void): string => {
    if (failure) throw failure.error
    out = ''
    try {
      feed()
    } catch (error) {
      failure = { error }
      if (out === '') throw error
    }
    return out
  }
  return {
    push: (text) => run(() => cutter.push(text, each)),
    close: () => run(() => cutter.close(each)),
  }
}
