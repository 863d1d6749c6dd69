import { z } from 'zod'

/**
 * One setting of an app. A setting called `laneLimit` is the flag `--lane-limit`, the environment variable `DROVER_LANE_LIMIT`
 * and the key `laneLimit` in the app's section of the YAML file.
 */
export interface Setting<S extends z.ZodType = z.ZodType> {
  /** A number, boolean or list may come as text: the text is read as what the schema wants. */
  schema: S
  /** One line for `--help`. */
  describe: string
  /** Further environment variables, asked in this order after the setting's own. */
  env?: readonly string[]
  /** The flag's name without dashes, where it is not the setting's own. */
  flag?: string
  /** What the flag alone stands for, when it is given without a value. */
  bare?: string
  /** Another section of the YAML file that may hold it too; the app's own section goes first. */
  section?: string
  /** Never shown, and may come from the file that `DROVER_…_FILE` names. `url`: only the password in it is hidden. */
  secret?: boolean | 'url'
}
export type Settings = Record<string, Setting>
export type SettingValues<S extends Settings> = { [Name in keyof S]: z.output<S[Name]['schema']> }

export const setting = <S extends z.ZodType>(definition: Setting<S>): Setting<S> => definition

export interface ConfigDefinition<S extends Settings = Settings> {
  /** The app's section in the YAML file. */
  section: string
  settings: S
}

export const defineConfig = <S extends Settings>(section: string, settings: S): ConfigDefinition<S> => ({ section, settings })

const words = (name: string): string[] => name.replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase().split(' ')

export const flagName = (name: string, { flag }: Setting): string => flag ?? words(name).join('-')
export const envNames = (name: string, { env = [] }: Setting): string[] => [`DROVER_${words(name).join('_').toUpperCase()}`, ...env]

/** The schema under defaults and optionality, where the kind of value shows. */
const bare = (schema: unknown): unknown =>
  schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional || schema instanceof z.ZodNullable
    ? bare(schema.unwrap())
    : schema instanceof z.ZodPipe
      ? bare(schema.in)
      : schema

export type SettingKind = 'list' | 'boolean' | 'other'
export const kindOf = ({ schema }: Setting): SettingKind => {
  const inner = bare(schema)
  return inner instanceof z.ZodArray ? 'list' : inner instanceof z.ZodBoolean ? 'boolean' : 'other'
}

/** What the help shows as default: the text that was written where there is one, `undefined` when there is nothing to show. */
export const defaultOf = ({ schema }: Setting): unknown => {
  if (schema instanceof z.ZodPrefault) return schema.def.defaultValue
  const parsed = schema.safeParse(undefined)
  return parsed.success ? parsed.data : undefined
}

/** A missing value is a problem unless the schema has an answer to it. */
export const isRequired = ({ schema }: Setting): boolean => !schema.safeParse(undefined).success
