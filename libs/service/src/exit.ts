/** Exit codes. A supervisor starts a process again after `failed`, not after `refused`: its set-up is wrong and stays wrong. */
export const EXIT = { done: 0, failed: 1, refused: 2 } as const

/** An expected end of the process: its message is the whole reason that a reader needs, its code is the process' exit code. */
export class ExitError extends Error {
  override readonly name: string = 'ExitError'
  readonly code: number
  constructor(message: string, code: number = EXIT.refused, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** What a failed `main` says before it ends: one reason where the end was expected, the stack where it was not. */
export const farewell = (error: unknown): { text: string; code: number } => {
  if (error instanceof ExitError) return { text: error.message, code: error.code }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { text: `unexpected: ${text}`, code: EXIT.failed }
}

const end = (error: unknown): void => {
  const { text, code } = farewell(error)
  const stream = code === EXIT.done ? process.stdout : process.stderr
  // The exit waits for the last line: a pipe is written asynchronously, and a reader that is gone must not keep us.
  stream.once('error', () => process.exit(code))
  stream.write(`${text}\n`, () => process.exit(code))
}

let watching = false

/**
 * Runs a process' main function. A process that was started with an IPC channel ends when its parent is gone, from the first
 * moment on; `onShutdown` later replaces the sudden end by an orderly one.
 */
export const runMain = (main: () => Promise<void>): void => {
  if (!watching) {
    watching = true
    process.on('uncaughtException', end)
    process.on('unhandledRejection', end)
    process.once('disconnect', orphaned)
    // Listening for the disconnect alone must not keep a process alive that has nothing else to do.
    process.channel?.unref()
  }
  if (process.connected === false) process.exit(EXIT.failed)
  let over = false
  // A main that waits for what can never come would otherwise end as if all had gone well.
  process.once('beforeExit', () => over || end(new Error('the process had nothing left to do, but its start was not over')))
  main().then(() => (over = true), end)
}

const orphaned = (): void => process.exit(EXIT.failed)

/** For `onShutdown` only: from here on somebody else answers the parent's end. */
export const releaseParentWatch = (): void => void process.off('disconnect', orphaned)
