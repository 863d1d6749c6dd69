import { ExitError } from '@drover/service'
import { apply, diff } from './apply.ts'
import { state } from './state.ts'

const WORDS: Record<string, (argv: readonly string[]) => Promise<void>> = { apply, diff, state }

/** `drover models apply|diff|state`: which models are to be where. */
export const models = async ([name = '', ...argv]: readonly string[]): Promise<void> => {
  const run = WORDS[name]
  if (!run) throw new ExitError(`expected a command: drover models ${Object.keys(WORDS).join('|')}`, name === '--help' || name === '-h' ? 0 : undefined)
  await run(argv)
}
