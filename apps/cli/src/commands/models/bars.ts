import { size } from '../units.ts'

/** A line of what a gateway tells of a pull or a push. */
export interface Progress {
  status: string
  digest?: string | undefined
  /** Bytes. */
  total?: number | undefined
  completed?: number | undefined
}

/** Columns of the bar itself, where there is room. */
const BAR = 30

const share = ({ total = 0, completed = 0 }: Progress): number => (total === 0 ? 0 : Math.min(1, completed / total))
const percent = (progress: Progress): string => `${Math.floor(100 * share(progress))}%`.padStart(4)
const bytes = ({ total = 0, completed = 0 }: Progress): string => `${size(completed)}/${size(total)}`

/** One line of a terminal for what was told last of one thing. */
export const barLine = (progress: Progress, width: number): string => {
  if (progress.total === undefined) return progress.status.slice(0, width)
  const filled = Math.round(BAR * share(progress))
  const line = `${progress.status} ${percent(progress)} ▕${'█'.repeat(filled)}${' '.repeat(BAR - filled)}▏ ${bytes(progress)}`
  return line.length <= width ? line : `${progress.status} ${percent(progress)}`.slice(0, width)
}

/** What is shown of a pull: a line for each thing that is told of, in the order in which they came. */
export class Bars {
  #lines = new Map<string, Progress>()

  take(progress: Progress): void {
    this.#lines.set(progress.digest ?? progress.status, progress)
  }

  lines(width: number): string[] {
    return [...this.#lines.values()].map((progress) => barLine(progress, width))
  }
}

/** The same for who reads lines one after the other: each status once, and a tenth of the bytes at a time. */
export class Steps {
  #told = new Map<string, number>()

  /** `undefined`: nothing that is worth a line. */
  take(progress: Progress): string | undefined {
    const key = progress.digest ?? progress.status
    const step = progress.total === undefined ? 0 : Math.floor(10 * share(progress))
    const before = this.#told.get(key)
    if (before !== undefined && step <= before) return undefined
    this.#told.set(key, step)
    return progress.total === undefined ? progress.status : `${progress.status} ${percent(progress).trim()} ${bytes(progress)}`
  }
}
