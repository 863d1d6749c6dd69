import type { ModelName } from '@drover/core'

/** An attempt that holds slots of an engine. */
export interface Running {
  model: ModelName
  batch: boolean
  /** Slots that it holds. */
  width: number
  /** Has it make room, if it is one that does. */
  give?: () => void
  /** It has been told to make room, or is to be as soon as somebody has a job for it. */
  claimed: boolean
  /** Resolves when its slots are free. */
  over: Promise<void>
}

/** What an engine has room for, and what runs there, those that began last at the end. */
export interface Crowd {
  running: Iterable<Running>
  /** Slots in use, by model. */
  busy: ReadonlyMap<ModelName, number>
  /** Concurrent generations of the wanted model. */
  slots: number
  /** Models that may be in memory at once. */
  maxLoaded: number
}

const yields = ({ give, claimed }: Running): boolean => give !== undefined && !claimed

/**
 * Who is to make room for one more of a model, the youngest first, for they lose least; `undefined`: that would not do. Of another
 * model all have to go: one that runs alone, rather than many.
 */
export const whoYields = (model: ModelName, { running, busy, slots, maxLoaded }: Crowd): Running[] | undefined => {
  const all = [...running].toReversed()
  const own = busy.get(model) ?? 0
  if (slots === 0) return undefined
  if (own > 0) {
    const chosen: Running[] = []
    // Those that were told before count as gone.
    let left = all.reduce((sum, each) => (each.model === model && each.claimed ? sum - each.width : sum), own)
    for (const each of all) {
      if (left < slots) break
      if (each.model !== model || !yields(each)) continue
      chosen.push(each)
      left -= each.width
    }
    return left < slots && chosen.length > 0 ? chosen : undefined
  }
  if (busy.size !== maxLoaded) return undefined
  const others = [...Map.groupBy(all, (each) => each.model).values()].filter((each) => each.every(yields))
  return others.toSorted((a, b) => a.length - b.length)[0]
}
