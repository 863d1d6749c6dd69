import { existsSync, readFileSync } from 'node:fs'
import { type ConfigFile, readConfigFile } from './config-file.ts'
import { readFlags } from './config-flags.ts'
import { helpText } from './config-help.ts'
import { type Reading, readText, readValue } from './config-text.ts'
import { EXIT, ExitError } from './exit.ts'
import { didYouMean } from './nearest.ts'
import { MASK, maskUrls, masked } from './secrets.ts'
import { type ConfigDefinition, type Setting, type SettingValues, type Settings, envNames, flagName } from './setting.ts'
import { SHARED, sharedSettings } from './shared-settings.ts'

export type Env = Readonly<Record<string, string | undefined>>

/** Where a value came from: `--port`, `DROVER_PORT`, `drover.yaml:3`, or `default`. */
export type Source = string

export interface Config<S extends Settings> {
  values: SettingValues<S>
  sources: { [Name in keyof S]: Source }
  /** The YAML file that was read. */
  file: string | undefined
}

export interface ConfigInputs {
  argv?: readonly string[]
  env?: Env
  /** Read when neither `--config` nor `DROVER_CONFIG` names one; must exist only when named by those. */
  file?: string
  /** First line of the help. */
  usage?: string
}

/** Everything that is wrong with the configuration, in one report. */
export class ConfigError extends ExitError {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`
    super([`${count} in the configuration:`, ...problems.map((problem) => `  ${problem}`)].join('\n'), EXIT.refused)
    this.problems = problems
  }
}

/** One YAML file serves every app; each reads its own section and the shared one. */
export const SECTIONS = [SHARED, 'gateway', 'worker', 'up', 'cli']

interface Found {
  source: Source
  reading: Reading
  shown: string
}

const shownText = ({ secret }: Setting, value: unknown): string => {
  if (secret === true) return ''
  const text = typeof value === 'string' ? value : JSON.stringify(masked(value))
  return ` (got ${maskUrls(text).slice(0, 80)})`
}

const fromEnv = (name: string, setting: Setting, env: Env): Found | undefined => {
  for (const variable of envNames(name, setting)) {
    // An empty variable is an absent one: that is how a compose file passes on what nobody has set.
    const text = env[variable] || undefined
    const path = (setting.secret && env[`${variable}_FILE`]) || undefined
    if (text !== undefined && path !== undefined) {
      return { source: variable, reading: { ok: false, problem: `set together with ${variable}_FILE` }, shown: '' }
    }
    if (text !== undefined) return { source: variable, reading: readText(setting, [text]), shown: shownText(setting, text) }
    if (path === undefined) continue
    try {
      const secret = readFileSync(path, 'utf8').replace(/\r?\n$/, '')
      return { source: `${variable}_FILE`, reading: readText(setting, [secret]), shown: '' }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      return { source: `${variable}_FILE`, reading: { ok: false, problem: `cannot be read (${reason})` }, shown: '' }
    }
  }
  return undefined
}

const fromFile = (name: string, setting: Setting, file: ConfigFile, section: string): Found | undefined => {
  for (const place of [section, setting.section ?? section]) {
    const entry = file.sections.get(place)?.get(name)
    // `name:` with nothing behind it is a setting left open, not a null.
    if (entry === undefined || entry.value === null) continue
    const reading = readValue(setting, entry.value)
    return { source: entry.where, reading, shown: shownText(setting, entry.value) }
  }
  return undefined
}

const unknownKeys = (file: ConfigFile, { section, settings }: ConfigDefinition): string[] =>
  [
    { place: section, known: Object.keys(settings) },
    { place: SHARED, known: Object.keys(sharedSettings) },
  ].flatMap(({ place, known }) =>
    [...(file.sections.get(place) ?? [])]
      .filter(([name]) => !known.includes(name))
      .map(([name, { where }]) => `file ${where}: ${place}.${name}: unknown${didYouMean(name, known)}`),
  )

/** Reads flags, environment and file once, at the start. Throws `ConfigError` with all problems, or the help as an `ExitError`. */
export const loadConfig = <S extends Settings>(definition: ConfigDefinition<S>, inputs: ConfigInputs = {}): Config<S> => {
  const { section, settings } = definition
  const { argv = process.argv.slice(2), env = process.env, file = './drover.yaml', usage = `drover ${section} [settings]` } = inputs
  const flags = readFlags(settings, argv)
  if (flags.help) throw new ExitError(helpText(definition, usage), EXIT.done)

  const path = flags.config ?? (env['DROVER_CONFIG'] || (existsSync(file) ? file : undefined))
  const yaml = path === undefined ? { sections: new Map(), problems: [] } : readConfigFile(path, SECTIONS)
  const problems = [...flags.problems, ...yaml.problems, ...unknownKeys(yaml, definition)]
  const values: Record<string, unknown> = {}
  const sources: Record<string, Source> = {}

  for (const [name, setting] of Object.entries(settings)) {
    const flag = `--${flagName(name, setting)}`
    const given = flags.given.get(name)
    const found: Found = (given && { source: flag, reading: readText(setting, given), shown: shownText(setting, given.join(' ')) }) ??
      fromEnv(name, setting, env) ??
      fromFile(name, setting, yaml, section) ?? { source: 'default', reading: byDefault(name, setting, section), shown: '' }
    if (found.reading.ok) {
      values[name] = found.reading.value
      sources[name] = found.source
    } else {
      problems.push(problemLine(found, `${section}.${name}`, found.reading.problem))
    }
  }
  if (problems.length > 0) throw new ConfigError(problems)
  // Every setting of `settings` has been parsed by its own schema, or we would have thrown.
  return { values: values as SettingValues<S>, sources: sources as Config<S>['sources'], file: path }
}

const byDefault = (name: string, setting: Setting, section: string): Reading => {
  const parsed = setting.schema.safeParse(undefined)
  if (parsed.success) return { ok: true, value: parsed.data }
  const [variable] = envNames(name, setting)
  const places = `--${flagName(name, setting)}, ${variable} or ${setting.section ?? section}.${name} in the YAML file`
  return { ok: false, problem: `required; set ${places}` }
}

const problemLine = ({ source, shown }: Found, setting: string, problem: string): string => {
  if (source.startsWith('--')) return `flag ${source}: ${problem}${shown}`
  if (source === 'default') return `${setting}: ${problem}`
  return /^[A-Z0-9_]+$/.test(source) ? `environment ${source}: ${problem}${shown}` : `file ${source}: ${setting}: ${problem}${shown}`
}

/** The settings in effect, as they may be shown: secrets hidden, each with its source. */
export const maskedConfig = <S extends Settings>(
  { settings }: ConfigDefinition<S>,
  { values, sources }: Config<S>,
): Record<string, { value: unknown; source: Source }> =>
  Object.fromEntries(
    Object.entries<Setting>(settings).map(([name, { secret }]) => {
      const value: unknown = values[name]
      return [name, { value: secret === true && value !== undefined ? MASK : masked(value), source: sources[name] ?? 'default' }]
    }),
  )

/** The environment for a child process: ours, and what is to be said on top. */
export const childEnvironment = (extra: Env, env: Env = process.env): Record<string, string> =>
  Object.fromEntries(Object.entries({ ...env, ...extra }).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])))
