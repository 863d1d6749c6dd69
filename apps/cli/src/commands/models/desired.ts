import { apply, diff } from './apply.ts'
import { state } from './state.ts'

/** The words behind `drover models` that are about which models are to be where. */
export const desiredWords: Readonly<Record<string, (argv: readonly string[]) => Promise<void>>> = { apply, diff, state }
