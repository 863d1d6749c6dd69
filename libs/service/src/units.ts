import { z } from 'zod'

const MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const BYTES = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3, tb: 1024 ** 4 }

export interface Range {
  min?: number
  max?: number
}

/** A number with a unit, in the smallest unit; a number alone counts as `bare` units, or is refused where there is none. */
const measure = (units: Record<string, number>, bare: number | undefined, example: string, { min = 0, max = Infinity }: Range) =>
  z.union([z.number(), z.string()]).transform((input, context) => {
    const [, amount, unit = ''] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(String(input)) ?? []
    const factor = unit === '' ? (Number(amount) === 0 ? 1 : bare) : units[unit.toLowerCase()]
    const value = amount === undefined || factor === undefined ? undefined : Math.round(Number(amount) * factor)
    if (value !== undefined && value >= min && value <= max) return value
    const message = value === undefined ? `expected a number with a unit, like ${example}` : `out of range ${min}–${max}`
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  })

/** Milliseconds, written `500ms`, `5s`, `2m`, `1h` or `1d`; the range is in milliseconds. A number alone would be a guess. */
export const duration = (range: Range = {}) => measure(MS, undefined, '500ms, 5s or 2m', range)

/** Bytes, written `64kb`, `32mb` or `1gb` (powers of 1024) or as a number alone. */
export const bytes = (range: Range = {}) => measure(BYTES, 1, '64kb or 32mb', range)
