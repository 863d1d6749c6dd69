import type { FilePart } from '@drover/core'
import type { ContentStore } from '../files/content-store.ts'

/** Read ahead by this much: lines are mostly asked for in the order of their file, bytes. */
const AHEAD = 256 * 1024
/** Lines for several models are asked for at as many places in turn. */
const WINDOWS = 8

/** Bytes of a file that are at hand. */
interface Window {
  from: number
  bytes: Buffer
}

/** Pieces of a file's content, with what was read last at hand. */
export class RangeReader {
  #store: Pick<ContentStore, 'read'>
  #parts: readonly FilePart[]
  /** That which was used last stands last. */
  #windows: Window[] = []

  constructor(store: Pick<ContentStore, 'read'>, parts: readonly FilePart[]) {
    this.#store = store
    this.#parts = parts
  }

  /** @throws BrokerError what the store throws */
  async read(offset: number, length: number): Promise<Buffer> {
    const at = this.#windows.findIndex(({ from, bytes }) => offset >= from && offset + length <= from + bytes.length)
    const window = at >= 0 ? this.#windows.splice(at, 1)[0]! : { from: offset, bytes: await this.#span(offset, offset + Math.max(length, AHEAD)) }
    this.#windows.push(window)
    if (this.#windows.length > WINDOWS) this.#windows.shift()
    return window.bytes.subarray(offset - window.from, offset - window.from + length)
  }

  /** Fewer bytes only at the end of the file. */
  async #span(from: number, to: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    let begin = 0
    for (const [name, bytes] of this.#parts) {
      const [first, last] = [Math.max(from, begin) - begin, Math.min(to, begin + bytes) - begin]
      if (first < last) pieces.push(await this.#store.read(name, first, last))
      begin += bytes
    }
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
  }
}
