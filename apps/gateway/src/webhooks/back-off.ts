/** A delivery that fails again is tried once more after about the n-th of these, ms; then it is given up. Half a day of no answer is bridged, and a night. */
export const BACK_OFF_TEXT = '5s,5m,30m,2h,5h,10h,10h'

/** Not all that failed at once is to come back at once: each wait is longer or shorter by up to this share. */
const JITTER = 0.1

/** @returns ms to the next try, of one that has failed `step` times before this; `undefined`: there is none */
export const nextTryMs = (step: number, waits: readonly number[], random = Math.random): number | undefined => {
  const wait = waits[step]
  return wait === undefined ? undefined : wait * (1 - JITTER + 2 * JITTER * random())
}
