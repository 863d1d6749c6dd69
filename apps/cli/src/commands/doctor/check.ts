import { setTimeout as sleep } from 'node:timers/promises'

export type State = 'ok' | 'warn' | 'fail'

/** What a check has found. */
export interface Finding {
  /** A few words, the same at every run. */
  name: string
  state: State
  text: string
  /** What to do about it. */
  step?: string
}

export interface Check {
  name: string
  run(signal: AbortSignal): Promise<Finding | Finding[]>
}

const LIMIT_MS = 12_000

export const ok = (name: string, text: string): Finding => ({ name, state: 'ok', text })
export const warn = (name: string, text: string, step: string): Finding => ({ name, state: 'warn', text, step })
export const fail = (name: string, text: string, step: string): Finding => ({ name, state: 'fail', text, step })

/** All checks at once, their findings in the checks' order. One that breaks or takes too long is a finding itself. */
export const runChecks = async (checks: readonly Check[], limitMs = LIMIT_MS): Promise<Finding[]> => {
  const signal = AbortSignal.timeout(limitMs)
  const findings = await Promise.all(
    checks.map(async ({ name, run }): Promise<Finding | Finding[]> => {
      const over = new AbortController()
      try {
        const late = sleep(limitMs, warn(name, `could not be checked in ${limitMs / 1_000} s`, 'look at the machine’s load and network, then try again'), { signal: over.signal })
        late.catch(() => undefined)
        return await Promise.race([run(signal), late])
      } catch (error) {
        return warn(name, `could not be checked: ${error instanceof Error ? error.message : String(error)}`, 'see the reason, then try again')
      } finally {
        over.abort()
      }
    }),
  )
  return findings.flat()
}
