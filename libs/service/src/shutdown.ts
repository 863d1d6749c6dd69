import { EXIT, releaseParentWatch } from './exit.ts'

export interface ShutdownStep {
  name: string
  /** Longest that the step may take before the next one begins without it. */
  limitMs: number
  run: () => unknown
}

export interface ShutdownLog {
  info: (fields: object, message: string) => void
  warn: (fields: object, message: string) => void
}

export interface ShutdownOptions {
  log: ShutdownLog
  /** Bounds each step once more when the parent has died: nobody waits for us then, and nobody will end us. */
  orphanLimitMs?: number
  /** Ends the process; a test may look on instead. */
  exit?: (code: number) => void
}

export interface Shutdown {
  /** Aborted when the end has begun. */
  signal: AbortSignal
  /** Begins the end as a signal would; repeated calls join it. */
  begin: (reason: string, code?: number) => Promise<void>
}

/** A key press may arrive twice, from the terminal and from the process that started us: one wish, not two. */
const SAME_WISH_MS = 500

const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const
type Signal = keyof typeof numbers

const limited = async (run: () => unknown, limitMs: number): Promise<'done' | 'late'> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(resolve, limitMs, 'late')
  })
  try {
    return await Promise.race([Promise.resolve(run()).then(() => 'done' as const), late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Ends the process in order: on SIGTERM, SIGINT or SIGHUP, or when the parent that holds our IPC channel is gone, the steps run
 * one after the other, each within its limit; then the process exits. A step that fails or is late does not keep the next from
 * running, but the exit code tells. A second signal exits at once.
 */
export const onShutdown = (steps: readonly ShutdownStep[], options: ShutdownOptions): Shutdown => {
  const { log, orphanLimitMs = 3_000, exit = (code) => process.exit(code) } = options
  const ending = new AbortController()
  let begun: { at: number; done: Promise<void> } | undefined

  const runSteps = async (reason: string, code: number, mostMs: number): Promise<void> => {
    ending.abort(reason)
    log.info({ reason }, 'shutting down')
    let failed = false
    for (const { name, limitMs, run } of steps) {
      const started = performance.now()
      const result = await limited(run, Math.min(limitMs, mostMs)).catch((error: unknown) => error)
      const ms = Math.round(performance.now() - started)
      if (result === 'done') log.info({ step: name, ms }, 'shutdown step done')
      else if (result === 'late') log.warn({ step: name, ms }, 'shutdown step given up: it took too long')
      else log.warn({ step: name, ms, err: result }, 'shutdown step failed')
      failed ||= result !== 'done'
    }
    exit(failed && code === EXIT.done ? EXIT.failed : code)
  }

  const begin = (reason: string, code: number = EXIT.done, mostMs = Infinity): Promise<void> => {
    begun ??= { at: performance.now(), done: runSteps(reason, code, mostMs) }
    return begun.done
  }

  const onSignal = (signal: Signal): void => {
    if (begun === undefined) void begin(signal)
    else if (performance.now() - begun.at > SAME_WISH_MS) exit(128 + numbers[signal])
  }
  const orphaned = (): void => void begin('parent gone', EXIT.failed, orphanLimitMs)

  for (const signal of Object.keys(numbers) as Signal[]) process.on(signal, onSignal)
  process.once('disconnect', orphaned)
  process.channel?.unref()
  releaseParentWatch()
  if (process.connected === false) orphaned()

  return { signal: ending.signal, begin: (reason, code) => begin(reason, code) }
}
