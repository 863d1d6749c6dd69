/** A terminal shows one line that changes; anything else, a log file, gets a line now and then. */
const LIVE = process.stderr.isTTY === true
const EVERY_MS = LIVE ? 1_000 : 5_000

let shown = false
const clear = () => {
  if (shown) process.stderr.write('\r\x1b[K')
  shown = false
}

/** One line about the set-up, apart from the output of what it sets up. */
export const say = (line) => {
  clear()
  process.stderr.write(`drover: ${line}\n`)
}

/** An end that was to be expected: its message is all that is to be said. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Somebody told us to end: nothing that would come next is begun. */
export class Interrupted extends SetupError {}

/** Bytes as megabytes. */
export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0)} MB`

const secondsSince = (started) => Math.max(1, Math.round((Date.now() - started) / 1000))

/**
 * Says what takes its time, how far it has come as long as it runs (`progress` gives a few words, or nothing when it does not know),
 * and how long it took.
 */
export const step = async (what, work, progress = () => undefined) => {
  say(`${what}…`)
  const started = Date.now()
  const timer = setInterval(() => {
    const line = `drover: ${[`${what}… ${secondsSince(started)} s`, progress()].filter(Boolean).join(', ')}`
    clear()
    shown = LIVE
    process.stderr.write(LIVE ? line.slice(0, (process.stderr.columns || 80) - 1) : `${line}\n`)
  }, EVERY_MS)
  try {
    const result = await work()
    say(`${what}: done in ${secondsSince(started)} s`)
    return result
  } finally {
    clearInterval(timer)
    clear()
  }
}
