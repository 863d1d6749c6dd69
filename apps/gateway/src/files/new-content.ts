import type { FilePart } from '@drover/core'
import type { ContentStore, Names } from './content-store.ts'

/** Content that is to become a file's, and until it is one may be given up. */
export class NewContent {
  #names: Pick<Names, 'abandon'>
  #store: ContentStore
  #parts: readonly FilePart[] = []

  constructor(names: Pick<Names, 'abandon'>, store: ContentStore) {
    this.#names = names
    this.#store = store
  }

  /** What it lies in: nothing before all of it is written. */
  get parts(): readonly FilePart[] {
    return this.#parts
  }

  get bytes(): number {
    return this.#parts.reduce((sum, [, bytes]) => sum + bytes, 0)
  }

  async write(name: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    this.#parts = await this.#store.put(name, content)
  }

  /** It is removed soon. */
  async abandon(): Promise<void> {
    for (const [name] of this.#parts) await this.#names.abandon(this.#store.id, name)
  }
}
