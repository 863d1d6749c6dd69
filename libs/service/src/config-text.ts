import { type Setting, kindOf } from './setting.ts'

const YES = ['true', 'yes', 'on', '1']
const NO = ['false', 'no', 'off', '0']
const WORDS = new Map([...YES.map((word) => [word, true] as const), ...NO.map((word) => [word, false] as const)])

/** A list item that is written as JSON (an object, or a list of them), else the text itself. */
const items = (text: string): unknown[] => {
  if (!/^\s*[[{]/.test(text)) return text.split(',').map((item) => item.trim()).filter(Boolean)
  const value: unknown = JSON.parse(text)
  return Array.isArray(value) ? value : [value]
}

const numeric = (text: string): boolean => /^-?\d+(\.\d+)?$/.test(text)

export type Reading = { ok: true; value: unknown } | { ok: false; problem: string }

const issuesOf = (error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] }): string =>
  error.issues.map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`)).join('; ')

const check = (setting: Setting, value: unknown): Reading => {
  const parsed = setting.schema.safeParse(value)
  return parsed.success ? { ok: true, value: parsed.data } : { ok: false, problem: issuesOf(parsed.error) }
}

/** Reads a value as the YAML file has it; a single value stands for a list of one. */
export const readValue = (setting: Setting, value: unknown): Reading => {
  if (kindOf(setting) === 'list' && typeof value === 'string') return readText(setting, [value])
  if (kindOf(setting) === 'list' && !Array.isArray(value)) return check(setting, [value])
  return check(setting, value)
}

/** Reads what a flag or the environment says: text, several times only for a list. */
export const readText = (setting: Setting, texts: readonly string[]): Reading => {
  const kind = kindOf(setting)
  if (kind === 'list') {
    try {
      return check(setting, texts.flatMap(items))
    } catch {
      return { ok: false, problem: 'not valid JSON' }
    }
  }
  const [text = ''] = texts
  if (texts.length > 1) return { ok: false, problem: 'given more than once' }
  if (kind === 'boolean') {
    const value = WORDS.get(text.trim().toLowerCase())
    return value === undefined ? { ok: false, problem: 'expected true or false' } : check(setting, value)
  }
  const asText = check(setting, text)
  return asText.ok || !numeric(text) ? asText : check(setting, Number(text))
}
