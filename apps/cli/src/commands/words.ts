import { parseArgs } from 'node:util'
import type { Settings } from '@drover/service'

const flagOf = (name: string, { flag }: Settings[string]): string => flag ?? name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** Whether a flag may stand alone. */
const standsAlone = ({ schema }: Settings[string]): boolean => schema.safeParse(true).success

/**
 * Tells words (a model's name, a prompt) from settings, in whatever order they come; all behind `--` is words. The settings are
 * handed on for `loadConfig` to judge.
 */
export const splitWords = (settings: Settings, argv: readonly string[]): { words: string[]; flags: string[] } => {
  const known = Object.entries(settings).map(([name, setting]) => [flagOf(name, setting), setting] as const)
  const byFlag = new Map(known)
  const { tokens } = parseArgs({
    args: [...argv],
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: {
      ...Object.fromEntries(known.map(([flag, setting]) => [flag, { type: standsAlone(setting) ? 'boolean' : 'string' } as const])),
      config: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const words: string[] = []
  const flags: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') words.push(token.value)
    if (token.kind !== 'option') continue
    // A setting that is a text for `loadConfig`, and may stand alone all the same, is then said to be true.
    const alone = byFlag.get(token.name)?.schema.safeParse('true').success && byFlag.get(token.name)?.schema.safeParse(true).success
    const value = token.value ?? (alone ? 'true' : undefined)
    flags.push(value === undefined ? token.rawName : `${token.rawName}=${value}`)
  }
  return { words, flags }
}
