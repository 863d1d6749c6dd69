import type { Summary } from './load.ts'

/** The value below which a share `q` of sorted numbers lies, by nearest rank. */
export const quantile = (sorted: ArrayLike<number>, q: number): number => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

/**
 * An interval that holds the true median with at least 95 %, by order statistics: no assumption about how the values are
 * distributed. Below six values there is none, and all of them are given.
 */
export const medianInterval = (values: readonly number[]): [number, number] => {
  const sorted = values.toSorted((a, b) => a - b)
  const n = sorted.length
  let below = 0.5 ** n
  let tail = below
  let k = 0
  while (tail <= 0.025 && k < n) {
    k += 1
    below *= (n - k + 1) / k
    tail += below
  }
  const from = Math.max(0, k - 1)
  return [sorted[from] ?? 0, sorted[n - 1 - from] ?? 0]
}

/** Numbers as they come, for percentiles. */
export class Samples {
  #values = new Float64Array(4096)
  #count = 0

  add(value: number): void {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(2 * this.#count)
      grown.set(this.#values)
      this.#values = grown
    }
    this.#values[this.#count++] = value
  }

  summary(): Summary {
    const sorted = this.#values.subarray(0, this.#count).toSorted()
    return { count: this.#count, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: quantile(sorted, 1) }
  }
}
