/** Nanoseconds of the units that Go's `time.ParseDuration` knows. */
const UNITS: Record<string, number> = { ns: 1, us: 1e3, 'µs': 1e3, 'μs': 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 }

/** Nanoseconds of a Go duration (`1h30m`, `-1.5s`, `0`), or the text of Go's error. */
export const goDuration = (text: string): number | string => {
  const quoted = JSON.stringify(text)
  const sign = text.startsWith('-') ? -1 : 1
  let rest = /^[+-]/.test(text) ? text.slice(1) : text
  if (rest === '0') return 0
  if (rest === '') return `time: invalid duration ${quoted}`
  let total = 0
  while (rest) {
    const number = /^(?:\d+\.?\d*|\.\d+)/.exec(rest)?.[0]
    if (number === undefined) return `time: invalid duration ${quoted}`
    rest = rest.slice(number.length)
    const unit = /^[^\d.]*/.exec(rest)?.[0] ?? ''
    if (unit === '') return `time: missing unit in duration ${quoted}`
    const scale = Object.hasOwn(UNITS, unit) ? UNITS[unit] : undefined
    if (scale === undefined) return `time: unknown unit ${JSON.stringify(unit)} in duration ${quoted}`
    rest = rest.slice(unit.length)
    total += Number(number) * scale
  }
  return sign * total
}
