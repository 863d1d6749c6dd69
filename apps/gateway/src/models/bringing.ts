import type { Progress } from '@drover/dialects'

/** One model on its way to a node, as this gateway follows it. */
export class Bringing {
  /** Who is getting it. */
  node: string | undefined
  #layers = new Map<string, { total: number; completed: number }>()
  #leave = new AbortController()

  /** Aborted: nobody here wants it any more. */
  get left(): AbortSignal {
    return this.#leave.signal
  }

  leave(): void {
    this.#leave.abort()
  }

  take({ digest, total, completed = 0 }: Progress): void {
    if (digest !== undefined && total !== undefined) this.#layers.set(digest, { total, completed })
  }

  /** Where it goes and how far it is: of the layers that are known. */
  get told(): string | undefined {
    if (this.node === undefined) return undefined
    const layers = [...this.#layers.values()]
    const total = layers.reduce((sum, layer) => sum + layer.total, 0)
    const completed = layers.reduce((sum, layer) => sum + layer.completed, 0)
    return `to ${this.node}${total > 0 ? `: ${Math.floor((100 * completed) / total)} %` : ''}`
  }
}
