import { BrokerError } from '@drover/core'
import { progressIn, workFailure, type EngineCallOf, type Progress } from '@drover/dialects'
import type { Engine } from '@drover/engines'

/** An engine that says nothing for this long is stuck, ms: it verifies hundreds of gigabytes in silence. */
const SILENT_MS = 30 * 60_000
/** Most characters that are kept of a refusal, and of one line. */
const MOST_CHARS = 64 * 1024

export interface EngineLinesOptions {
  signal: AbortSignal
  onProgress(progress: Progress): void
}

const errorIn = (text: string): string | undefined => {
  try {
    const value = JSON.parse(text) as { error?: unknown } | null
    return typeof value?.error === 'string' ? value.error : undefined
  } catch {
    return undefined
  }
}

/** What an engine that did not answer 200 meant; its own faults may go better another time. */
const refusal = (engine: Engine, { path }: EngineCallOf, status: number, text: string): BrokerError => {
  const said = errorIn(text)
  if (status >= 502 || said === undefined) return new BrokerError('engine_failed', `engine ${engine.id} answered ${path} with status ${status}${said === undefined ? '' : `: ${said}`}`)
  return workFailure(said, status)
}

/**
 * Has an engine do some work on its models. Resolves when it has said that it is done.
 * @throws BrokerError `engine_refused` with the engine's words, `engine_failed`, `engine_protocol`, `engine_stalled`; the signal's reason when that ends it
 */
export const engineLines = (engine: Engine, call: EngineCallOf, { signal, onProgress }: EngineLinesOptions): Promise<void> =>
  new Promise((resolve, reject) => {
    let status = 0
    let rest = ''
    let succeeded = false
    const stop = () => under.abort(signal.reason)
    const stuck = setTimeout(() => under.abort(new BrokerError('engine_stalled', `engine ${engine.id} has said nothing for ${SILENT_MS / 60_000} minutes`)), SILENT_MS)
    const over = (settle: () => void) => {
      clearTimeout(stuck)
      signal.removeEventListener('abort', stop)
      settle()
    }
    const take = (line: string) => {
      if (line.trim() === '') return
      const progress = progressIn(line)
      if (progress.status === 'success') succeeded = true
      onProgress(progress)
    }
    const under = engine.post(call, {
      head: (given) => void (status = given),
      text: (chunk) => {
        stuck.refresh()
        rest += chunk
        if (status === 200 && call.streams) {
          const lines = rest.split('\n')
          rest = lines.pop() ?? ''
          for (const line of lines) take(line)
        }
        if (rest.length > MOST_CHARS) throw new BrokerError('engine_protocol', `engine ${engine.id} answered ${call.path} with a line that does not end`)
      },
      end: () => {
        if (status !== 200) throw refusal(engine, call, status, rest)
        if (call.streams) {
          take(rest)
          if (!succeeded) throw new BrokerError('engine_protocol', `engine ${engine.id} ended its answer to ${call.path} without success`)
        }
        over(resolve)
      },
      fail: (error) => over(() => reject(error as Error)),
    })
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
  })
