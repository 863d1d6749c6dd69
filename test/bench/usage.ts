import { readdirSync, readFileSync } from 'node:fs'

/** ns that one thread has run; a thread that has just ended has none. */
const threadNs = (pid: number, thread: string): number => {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0])
  } catch {
    return 0
  }
}

/**
 * ms of CPU that a process has used. From the scheduler, not from `stat`: that counts timer ticks, and a process that runs
 * by the millisecond's clock is met by all of them or by none.
 */
export const cpuMs = (pid: number): number => readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + threadNs(pid, thread), 0) / 1e6

/** MB. */
export interface Memory {
  rss: number
  pss: number
}

export const memoryOf = (pid: number): Memory => {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kb = (name: string) => Number(new RegExp(`^${name}: *(\\d+) kB`, 'm').exec(text)?.[1] ?? 0)
  return { rss: kb('Rss') / 1024, pss: kb('Pss') / 1024 }
}

/** Most files that a process started from here may open: Node raises the soft limit to it. */
export const fileLimit = (): number => Number(/^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1024)
