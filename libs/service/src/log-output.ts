import { writeSync } from 'node:fs'
import type { DestinationStream } from 'pino'

/** Most characters of lines that wait for a slow reader of our output; beyond it, lines are dropped rather than kept. */
const WAITING_CHARACTERS = 4 * 1024 * 1024
const RETRY_MS = 20
/** Longest that the last lines may hold up the end of the process. */
const LAST_MS = 500

const sleep = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

/**
 * Log lines onto a file descriptor: those of one turn of the event loop in one write, in order, and at the exit all that is left.
 * When nobody reads any more, lines are forgotten; a process must be able to end without a reader.
 */
export const logOutput = (fd: number): DestinationStream => {
  let lines: string[] = []
  let waiting = 0
  let rest: Buffer = Buffer.alloc(0)
  let timer: NodeJS.Timeout | NodeJS.Immediate | undefined
  let readerGone = false

  /** False: the reader is slow, and something is left. */
  const flush = (): boolean => {
    if (readerGone) return true
    try {
      while (rest.length > 0 || lines.length > 0) {
        if (rest.length === 0) {
          rest = Buffer.from(lines.join(''))
          lines = []
          waiting = 0
        }
        rest = rest.subarray(writeSync(fd, rest))
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false
      readerGone = true
    }
    return true
  }
  const flushLater = (): void => {
    timer = undefined
    if (!flush()) timer = setTimeout(flushLater, RETRY_MS)
  }
  process.on('exit', () => {
    for (let left = LAST_MS; !flush() && left > 0; left -= RETRY_MS) sleep(RETRY_MS)
  })

  return {
    write: (line) => {
      if (readerGone || waiting > WAITING_CHARACTERS) return
      lines.push(line)
      waiting += line.length
      timer ??= setImmediate(flushLater)
    },
  }
}
