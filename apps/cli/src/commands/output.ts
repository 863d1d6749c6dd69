import { styleText } from 'node:util'
import { EXIT } from '@drover/service'

/** Whoever reads our output may leave (`drover list | head`): that ends us, and is no failure. */
export const endWithReader = (): void => {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.failed))
  process.stderr.on('error', () => undefined)
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** The one document of a command with `--json`. */
export const printJson = (value: unknown): void => print(JSON.stringify(value, undefined, 2))

/** Colours go to a terminal only, and not where `NO_COLOR` is set. */
export const dim = (text: string, stream: NodeJS.WriteStream): string => styleText('dim', text, { stream })

/** Columns of the terminal that standard output goes to; without one, lines may be as long as they like. */
export const outputWidth = (): number => (process.stdout.isTTY ? process.stdout.columns || 80 : Infinity)
