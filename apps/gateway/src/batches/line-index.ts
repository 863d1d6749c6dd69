/** Where a request lies in its file, and which of the batch's models it is for. */
export interface Place {
  offset: number
  length: number
  model: number
}

const BYTES = 16

/** The requests of a batch in the order in which they are run: those for one model behind each other, within that as in the file. */
export class LineIndex {
  #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  static of(places: readonly Place[]): LineIndex {
    const bytes = Buffer.alloc(places.length * BYTES)
    for (const [i, { offset, length, model }] of places.toSorted((a, b) => a.model - b.model || a.offset - b.offset).entries()) {
      bytes.writeDoubleLE(offset, i * BYTES)
      bytes.writeUInt32LE(length, i * BYTES + 8)
      bytes.writeUInt32LE(model, i * BYTES + 12)
    }
    return new LineIndex(bytes)
  }

  static bytesOf(places: number): number {
    return places * BYTES
  }

  get bytes(): Buffer {
    return this.#bytes
  }
  get length(): number {
    return this.#bytes.length / BYTES
  }

  at(i: number): Place {
    return { offset: this.#bytes.readDoubleLE(i * BYTES), length: this.#bytes.readUInt32LE(i * BYTES + 8), model: this.#bytes.readUInt32LE(i * BYTES + 12) }
  }

  /** The first request of each model, and behind the last one the number of all. */
  starts(models: number): number[] {
    const starts: number[] = []
    for (let i = 0; i < this.length; i += 1) while (starts.length <= this.at(i).model) starts.push(i)
    while (starts.length <= models) starts.push(this.length)
    return starts
  }
}
