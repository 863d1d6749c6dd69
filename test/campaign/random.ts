/** Repeatable randomness: the same seed, the same numbers. */
export interface Random {
  /** From 0 up to, not including, 1. */
  next(): number
  /** A whole number, both ends included. */
  int(from: number, to: number): number
  chance(share: number): boolean
  pick<T>(from: readonly T[]): T
  /** Another source that depends on this seed and a name, and on nothing that has been drawn. */
  fork(name: string | number): Random
}

const mix = (seed: number, text: string): number => {
  let h = seed ^ 0x9e3779b9
  for (const character of text) h = Math.imul(h ^ character.charCodeAt(0), 0x01000193)
  return h >>> 0
}

/** The generator "mulberry32": 32 bits of state, good enough to choose faults. */
export const random = (seed: number): Random => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (from: number, to: number) => from + Math.floor(next() * (to - from + 1))
  return {
    next,
    int,
    chance: (share) => next() < share,
    pick: (from) => {
      const item = from[int(0, from.length - 1)]
      if (item === undefined) throw new Error('nothing to pick from')
      return item
    },
    fork: (name) => random(mix(seed, String(name))),
  }
}
