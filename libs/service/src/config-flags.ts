import { didYouMean } from './nearest.ts'
import { type Settings, flagName, kindOf } from './setting.ts'

export interface Flags {
  help: boolean
  /** The YAML file that `--config` names. */
  config: string | undefined
  /** Texts by setting, in the order given. */
  given: Map<string, string[]>
  problems: string[]
}

/** Reads `--name value`, `--name=value`, for booleans `--name` and `--no-name`, and `--name` alone where that stands for a value. */
export const readFlags = (settings: Settings, argv: readonly string[]): Flags => {
  const names = new Map(Object.entries(settings).map(([name, setting]) => [flagName(name, setting), { name, kind: kindOf(setting), bare: setting.bare }]))
  const flags: Flags = { help: false, config: undefined, given: new Map(), problems: [] }
  const known = [...names.keys(), 'config', 'help']
  const rest = [...argv]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--help' || word === '-h') {
      flags.help = true
      continue
    }
    if (!word.startsWith('--') || word === '--') {
      flags.problems.push(`argument ${word}: not expected here; settings are given as --name value`)
      continue
    }
    const [flag = '', ...after] = word.slice(2).split('=')
    const inline = after.length > 0 ? after.join('=') : undefined
    const negated = flag.startsWith('no-') && names.get(flag.slice(3))?.kind === 'boolean'
    const target = names.get(negated ? flag.slice(3) : flag)
    if (target === undefined && flag !== 'config') {
      flags.problems.push(`flag --${flag}: unknown${didYouMean(flag, known, '--')}`)
      // What follows an unknown flag is most likely its value; a second complaint about it would only distract.
      if (inline === undefined && rest[0] !== undefined && !rest[0].startsWith('-')) rest.shift()
      continue
    }
    let value = inline
    if (value === undefined && target?.kind === 'boolean') value = negated ? 'false' : 'true'
    if (value === undefined && rest[0] !== undefined && !rest[0].startsWith('--')) value = rest.shift()
    value ??= target?.bare
    if (value === undefined || (negated && inline !== undefined)) {
      flags.problems.push(`flag --${flag}: ${negated ? 'takes no value' : 'needs a value'}`)
    } else if (target === undefined) {
      flags.config = value
    } else {
      flags.given.set(target.name, [...(flags.given.get(target.name) ?? []), value])
    }
  }
  return flags
}
