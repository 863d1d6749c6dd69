/** A device to fill, as far as the search is concerned. */
export interface Bin {
  /** Those of a lower group are filled before those of a higher one. */
  group: number
  /** Bytes that items may take. */
  room: number
  /** How much longer an item takes here than elsewhere: a whole number, 1 or more. */
  slowness: number
}

/** Items `from` to, but without, `to` on a bin, which is told by its place in the list. */
export interface Share {
  bin: number
  from: number
  to: number
}

/** With more bins in use than this, the largest are taken and no others are preferred to them. */
const CHOOSY = 12

/**
 * Spreads items, in their order, over as few bins as can take them, at most `most`: each bin used holds one run of whole items. Among the
 * ways with so few bins it takes the one with the first bin of the list in it, if there is one, then with the second, and so on.
 *
 * Exact: with the bins of a group it is enough to look at the largest of them, for a larger bin can stand in for a smaller one wherever
 * that stands; and how far a set of bins reaches, at best, follows from how far it reaches without each one of them.
 */
export const spread = (costs: readonly number[], bins: readonly Bin[], most: number): Share[] | undefined => {
  const search = searchOf(costs, bins)
  const all = bins.map((_, i) => i)
  for (let count = 1; count <= Math.min(most, bins.length); count += 1) {
    const found = search.completed([], all, count)
    if (!found) continue
    return search.cut(count > CHOOSY ? found : search.preferred(count))
  }
  return undefined
}

const searchOf = (costs: readonly number[], bins: readonly Bin[]) => {
  const items = costs.length
  /** Cost of all items before each. */
  const before = [0]
  for (const cost of costs) before.push((before.at(-1) ?? 0) + cost)
  const cost = (from: number, to: number): number => (before[to] ?? 0) - (before[from] ?? 0)
  const room = (bin: number): number => bins[bin]?.room ?? 0
  const group = (bin: number): number => bins[bin]?.group ?? 0
  const groups = [...new Set(bins.map((bin) => bin.group))].toSorted((a, b) => a - b)

  /** The item behind the last that fits when a bin begins with `from`. */
  const reach = (from: number, bin: number): number => {
    let [low, high] = [from, items]
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if (cost(from, middle) <= room(bin)) low = middle
      else high = middle - 1
    }
    return low
  }

  /** The bins in an order in which they take all items; as given, where that is one. */
  const ordered = (set: readonly number[]): number[] | undefined => {
    if (set.reduce((sum, bin) => sum + room(bin), 0) < cost(0, items)) return undefined
    const given = set.toSorted((a, b) => group(a) - group(b) || a - b)
    if (given.reduce(reach, 0) === items) return given
    /** By the set of bins in use, as bits: how many items they take at best, and which bin comes last then. */
    const reached = new Int32Array(1 << given.length)
    const last = new Int8Array(1 << given.length)
    const groupEnd = given.map((bin) => 2 << given.findLastIndex((other) => group(other) === group(bin)))
    for (let used = 1; used < reached.length; used += 1) {
      reached[used] = -1
      for (const [i, bin] of given.entries()) {
        // Nothing of a later group may stand before it.
        if (!(used & (1 << i)) || used >= (groupEnd[i] ?? 0)) continue
        const to = reach(reached[used ^ (1 << i)] ?? 0, bin)
        if (to > (reached[used] ?? 0)) [reached[used], last[used]] = [to, i]
      }
    }
    if (reached.at(-1) !== items) return undefined
    const order: number[] = []
    for (let used = reached.length - 1; used > 0; used ^= 1 << (last[used] ?? 0)) order.unshift(given[last[used] ?? 0] ?? 0)
    return order
  }

  /** `chosen`, filled up from `rest` to so many bins that take all items. */
  const completed = (chosen: readonly number[], rest: readonly number[], count: number): number[] | undefined => {
    const byRoom = groups.map((each) => rest.filter((bin) => group(bin) === each).toSorted((a, b) => room(b) - room(a) || a - b))
    for (const more of combinations(byRoom, count - chosen.length)) if (ordered([...chosen, ...more])) return [...chosen, ...more]
    return undefined
  }

  /** The best so many bins that take all items. */
  const preferred = (count: number): number[] => {
    const chosen: number[] = []
    for (const bin of bins.keys()) {
      if (chosen.length < count && completed([...chosen, bin], [...bins.keys()].filter((other) => other > bin), count)) chosen.push(bin)
    }
    return chosen
  }

  /**
   * What each bin of a set takes: the quickest way through all items, and of equally quick ones that which leaves none much fuller than
   * the others.
   */
  const cut = (set: readonly number[]): Share[] => {
    const order = ordered(set) ?? []
    interface Way { slow: number; full: number; from: number }
    let ways: (Way | undefined)[] = [{ slow: 0, full: 0, from: 0 }]
    const steps: (Way | undefined)[][] = []
    for (const bin of order) {
      const next: (Way | undefined)[] = []
      for (const [from, way] of ways.entries()) {
        if (!way) continue
        for (let to = from + 1; to <= items && cost(from, to) <= room(bin); to += 1) {
          const slow = way.slow + cost(from, to) * (bins[bin]?.slowness ?? 1)
          const full = way.full + cost(from, to) ** 2 / room(bin)
          const known = next[to]
          if (!known || slow < known.slow || (slow === known.slow && full < known.full)) next[to] = { slow, full, from }
        }
      }
      steps.push(next)
      ways = next
    }
    const shares: Share[] = []
    let to = items
    for (const [i, bin] of [...order.entries()].toReversed()) {
      const from = steps[i]?.[to]?.from ?? 0
      shares.unshift({ bin, from, to })
      to = from
    }
    return shares
  }

  return { completed, preferred, cut }
}

/** The ways to take so many from the front of lists. */
function* combinations(lists: readonly (readonly number[])[], count: number): Generator<number[]> {
  const [first, ...rest] = lists
  if (!first) {
    if (count === 0) yield []
    return
  }
  for (let taken = Math.min(count, first.length); taken >= 0; taken -= 1) {
    for (const more of combinations(rest, count - taken)) yield [...first.slice(0, taken), ...more]
  }
}
