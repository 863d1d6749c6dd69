const plain = (text: string): string => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '')

/** Insertions, deletions, replacements and swaps of neighbours between two texts. */
const distance = (a: string, b: string): number => {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (before[j - 2] ?? 0) + 1 : Infinity
      row.push(Math.min(replaced, swapped, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1))
    }
    before = last
    last = row
  }
  return last[b.length] ?? 0
}

/** The known name that a mistyped one was probably meant to be; case and dashes do not count. */
export const nearest = (typed: string, known: readonly string[]): string | undefined => {
  const [best] = known
    .map((name) => ({ name, away: distance(plain(typed), plain(name)) }))
    .filter(({ name, away }) => away <= Math.max(1, Math.floor(plain(name).length / 3)))
    .toSorted((a, b) => a.away - b.away)
  return best?.name
}

/** ` (did you mean …?)` or nothing. */
export const didYouMean = (typed: string, known: readonly string[], prefix = ''): string => {
  const name = nearest(typed, known)
  return name === undefined ? '' : ` (did you mean ${prefix}${name}?)`
}
