import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'

/** A model that the engine can pull: what its registry has. */
export interface LibraryModel {
  name: string
  /** Bytes of all layers together; 1 MB by default. */
  size?: number
  layers?: number
  /** Bytes a second of all its pulls together; 0 (default): at once. */
  rate?: number
  /** What every pull ends with instead of success. */
  fails?: string
  /** Every pull is cut off behind its first line. */
  breaks?: boolean
  /** The pull says nothing more from this byte on, until the library says otherwise. */
  stall_at?: number
}

/** What was asked of the engine's models, by name. */
export interface ModelCounts {
  pulls: number
  /** Pulls under way. */
  pulling: number
  pulled: number
  /** Pulls whose client has left. */
  leftPulls: number
  pushes: number
  creates: number
  copies: number
  deletes: number
}

export interface Layer {
  digest: string
  size: number
  /** Bytes that are here: a later pull goes on from them. */
  completed: number
}

export const noCounts = (): ModelCounts => ({ pulls: 0, pulling: 0, pulled: 0, leftPulls: 0, pushes: 0, creates: 0, copies: 0, deletes: 0 })

/** As Ollama lists a name. */
export const withTag = (name: string): string => (name.slice(name.lastIndexOf('/') + 1).includes(':') ? name : `${name}:latest`)

/** The registry that an engine pulls from, what it has of it, and counts of all that was asked. */
export class Library {
  #models: LibraryModel[]
  #layers = new Map<string, Layer>()
  readonly counts = new Map<string, ModelCounts>()
  /** Answers to the pulls under way. */
  readonly open = new Set<ServerResponse>()

  constructor(models: LibraryModel[]) {
    this.#models = models
  }

  set(models: LibraryModel[]) {
    this.#models = models
  }

  find(name: string): Required<LibraryModel> | undefined {
    const found = this.#models.find((model) => withTag(model.name).toLowerCase() === withTag(name).toLowerCase())
    return found && { size: 1_000_000, layers: 2, rate: 0, fails: '', breaks: false, stall_at: Infinity, ...found }
  }

  layersOf({ name, size, layers }: Required<LibraryModel>): Layer[] {
    return Array.from({ length: layers }, (_, i) => {
      const digest = `sha256:${createHash('sha256').update(`${name} ${i}`).digest('hex')}`
      let layer = this.#layers.get(digest)
      if (!layer) this.#layers.set(digest, (layer = { digest, size: Math.ceil(size / layers), completed: 0 }))
      return layer
    })
  }

  /** Its layers are no longer here. */
  forget(name: string) {
    const model = this.find(name)
    if (model) for (const { digest } of this.layersOf(model)) this.#layers.delete(digest)
  }

  count(name: string): ModelCounts {
    const key = withTag(name)
    let stats = this.counts.get(key)
    if (!stats) this.counts.set(key, (stats = noCounts()))
    return stats
  }
}
