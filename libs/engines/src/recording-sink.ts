import type { AnswerSink } from './engine.ts'

/** A sink of the tests: writes down what came, in order, and lets a test wait for it. */
export interface RecordingSink extends AnswerSink {
  /** `head`, `text`, `end`, `fail`, one for each call. */
  calls: string[]
  status: number
  contentType: string
  received: string
  error: unknown
  /** Settles with the last call, `end` or `fail`. */
  over: Promise<'end' | 'fail'>
}

export const recordingSink = (onText?: (sink: RecordingSink) => void): RecordingSink => {
  const { promise: over, resolve } = Promise.withResolvers<'end' | 'fail'>()
  const sink: RecordingSink = {
    calls: [],
    status: 0,
    contentType: '',
    received: '',
    error: undefined,
    over,
    head(status, contentType) {
      sink.calls.push('head')
      sink.status = status
      sink.contentType = contentType
    },
    text(chunk) {
      sink.calls.push('text')
      sink.received += chunk
      onText?.(sink)
    },
    end() {
      sink.calls.push('end')
      resolve('end')
    },
    fail(error) {
      sink.calls.push('fail')
      sink.error = error
      resolve('fail')
    },
  }
  return sink
}
