import type { Progress } from './model-work.ts'

/** What nodes do one behind the other; what stands in none of them comes before them. */
const LATER = ['verifying sha256 digest', 'writing manifest', 'removing unused layers', 'pushing manifest']
const DONE = LATER.length + 1

interface Part {
  total: number
  completed: number
}

interface Place {
  /** 0: before those in `LATER`. */
  phase: number
  parts: Map<string, Part>
}

/**
 * What several nodes tell of the same work, as one engine would tell it: sums over all of them, each status once, and a later one only when
 * all have come to it. Nothing that was told goes back, also where a node begins anew or another takes its place.
 */
export class NodesProgress {
  #places: Place[]
  #said = new Set<string>()
  #told = new Set<string>()
  /** By part: how many bytes all have together, as it was told last. */
  #sums = new Map<string, Part>()

  /** `places`: how many nodes do it; each is known by its number. */
  constructor(places: number) {
    this.#places = Array.from({ length: places }, () => ({ phase: 0, parts: new Map() }))
  }

  /** @returns what is to be told now that a node has said this */
  take(number: number, progress: Progress): Progress[] {
    const place = this.#places[number]
    if (!place || progress.status === 'success') return []
    const { status, digest, total, completed = 0 } = progress
    place.phase = Math.max(place.phase, LATER.indexOf(status) + 1)
    if (total === undefined) {
      this.#said.add(status)
      if (LATER.includes(status)) return this.#advance()
      return this.#once(status)
    }
    const key = digest ?? status
    const before = place.parts.get(key)
    place.parts.set(key, { total: Math.max(total, before?.total ?? 0), completed: Math.max(completed, before?.completed ?? 0) })
    return this.#sum(key, status, digest)
  }

  /** The node has done it, or is out of it: nobody waits for it. */
  over(number: number): Progress[] {
    const place = this.#places[number]
    if (place) place.phase = DONE
    return this.#advance()
  }

  #once(status: string): Progress[] {
    if (this.#told.has(status)) return []
    this.#told.add(status)
    return [{ status }]
  }

  #sum(key: string, status: string, digest: string | undefined): Progress[] {
    const known = this.#places.map(({ phase, parts }) => parts.get(key) ?? (phase > 0 ? 'whole' : 'nothing'))
    const each = Math.max(...known.map((part) => (typeof part === 'object' ? part.total : 0)))
    const last = this.#sums.get(key)
    const total = Math.max(each * this.#places.length, last?.total ?? 0)
    const sum = known.reduce((bytes, part) => bytes + (part === 'whole' ? each : part === 'nothing' ? 0 : part.completed), 0)
    const completed = Math.min(total, Math.max(sum, last?.completed ?? 0))
    if (last?.total === total && last.completed === completed) return []
    this.#sums.set(key, { total, completed })
    return [{ status, ...(digest !== undefined && { digest }), total, ...(completed > 0 && { completed }) }]
  }

  /** Later statuses to which all have come. */
  #advance(): Progress[] {
    const reached = Math.min(...this.#places.map(({ phase }) => phase))
    return LATER.slice(0, reached).flatMap((status) => (this.#said.has(status) ? this.#once(status) : []))
  }
}
