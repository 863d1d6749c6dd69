import { createHash } from 'node:crypto'

/** SHA-256 of content that passes through, hex digits, once it has; of content that nobody asks for nothing is reckoned. */
export class Digest {
  #hash = createHash('sha256')
  #wanted: boolean
  #value: string | undefined

  constructor(wanted: boolean) {
    this.#wanted = wanted
  }

  async *of<T extends Uint8Array>(content: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const piece of content) {
      if (this.#wanted) this.#hash.update(piece)
      yield piece
    }
  }

  get value(): string {
    return (this.#value ??= this.#hash.digest('hex'))
  }
}
