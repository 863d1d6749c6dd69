const STEPS = ['B', 'KB', 'MB', 'GB', 'TB'] as const

/** Bytes for people, in powers of 1000 as the `ollama` command writes them. */
export const size = (bytes: number): string => {
  let value = bytes
  let step = 0
  while (value >= 1000 && step < STEPS.length - 1) {
    value /= 1000
    step += 1
  }
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${STEPS[step]}`
}

/** Memory in GiB, as machines are sold. */
export const gib = (bytes: number): string => (bytes / 1024 ** 3).toFixed(1)

/** A span of time for people: `350 ms`, `12 s`, `4 min`, `3 h`, `2 d`. */
export const span = (ms: number): string => {
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 90_000) return `${Math.round(ms / 1_000)} s`
  if (ms < 90 * 60_000) return `${Math.round(ms / 60_000)} min`
  return ms < 48 * 3_600_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 86_400_000)} d`
}

/** Ollama writes "for ever" as a time centuries ahead. */
const FOR_EVER_MS = 50 * 365 * 86_400_000

/** Until when a model stays in memory; `undefined` for one that stays. */
export const expiry = (text: string | undefined, now: number): string | undefined =>
  text === undefined || Date.parse(text) - now > FOR_EVER_MS ? undefined : text

/** The same, for people. */
export const until = (text: string | undefined, now: number): string => {
  const at = expiry(text, now)
  if (at === undefined) return 'for ever'
  const ms = Date.parse(at) - now
  return ms <= 0 ? 'now' : `in ${span(ms)}`
}

/** Enough of a digest to tell two apart, as the `ollama` command shows it. */
export const short = (digest: string | undefined): string => digest?.slice(0, 12) ?? ''
