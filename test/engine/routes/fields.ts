export type Fields = Record<string, unknown>

/** A JSON object, or what is wrong with the text. */
export const parseObject = (text: string): Fields | string => {
  try {
    const value: unknown = JSON.parse(text)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Fields) : 'json: cannot unmarshal value into Go value'
  } catch (error) {
    return error instanceof Error ? error.message : 'invalid JSON'
  }
}

/** Options that a model is loaded with; -1 leaves the number of layers to the engine. */
const LOAD_TIME = ['num_ctx', 'num_batch', 'num_gpu', 'main_gpu', 'use_mmap', 'num_thread', 'draft_num_predict']

/** The load-time options of a request as text: `''` for none. */
export const loadOptionsOf = (options: Fields): string =>
  LOAD_TIME.flatMap((name) => (options[name] === undefined || options[name] === null || options[name] === -1 ? [] : [`${name}=${JSON.stringify(options[name])}`])).join(' ')

/** A limit of new tokens; absent or negative: none. */
export const limitOf = (value: unknown): number => (typeof value === 'number' && value >= 0 ? Math.floor(value) : Infinity)

export const stopsOf = (value: unknown): string[] => {
  const list: unknown[] = Array.isArray(value) ? value : [value]
  return list.filter((stop): stop is string => typeof stop === 'string' && stop !== '')
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** `keep_alive` in ms: a number of seconds, or a text as `5m` or `1h30m`. Negative: for ever. */
export const keepMsOf = (value: unknown): number | undefined => {
  if (typeof value === 'number') return value * 1000
  if (typeof value !== 'string') return undefined
  if (value === '0') return 0
  let sum = 0
  for (const [, count, unit] of value.matchAll(/([\d.]+)(ms|s|m|h)/g)) sum += Number(count) * (UNITS[unit ?? ''] ?? 0)
  return value.startsWith('-') ? -sum : sum
}

export const includesUsage = ({ stream_options: options }: Fields): boolean =>
  typeof options === 'object' && options !== null && 'include_usage' in options && options.include_usage === true
