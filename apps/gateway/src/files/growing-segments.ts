import { createHash } from 'node:crypto'
import type { FilePart } from '@drover/core'
import type { Growing } from './content-store.ts'

/** From so many bytes on a segment is left as it is, and the next one begun. */
const SEGMENT_BYTES = 512 * 1024

export interface GrowingSegmentsOptions {
  begin(name: string): Promise<void>
  write(name: string, bytes: Uint8Array): Promise<void>
}

/**
 * Content that grows where nothing that is written can grow. Its last segment is written anew with each piece, and counts instead of the one
 * before, until it is large enough. A segment's name is made of what is in it: one that arrives late, or is sent again, can replace nothing but
 * itself.
 */
export class GrowingSegments implements Growing {
  #name: string
  #options: GrowingSegmentsOptions
  #number = 0
  #begun = ''
  #counts: { part: FilePart; bytes: Buffer } = { part: ['', 0], bytes: Buffer.alloc(0) }
  #written = this.#counts

  constructor(name: string, options: GrowingSegmentsOptions) {
    this.#name = name
    this.#options = options
  }

  async add(piece: Buffer) {
    const bytes = Buffer.concat([this.#counts.bytes, piece])
    const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 16)
    const name = `${this.#name}.${String(this.#number).padStart(6, '0')}-${digest}`
    // Not twice: it may count by now, for all that was heard.
    if (name !== this.#begun) await this.#options.begin(name)
    this.#begun = name
    await this.#options.write(name, bytes)
    this.#written = { part: [name, bytes.length], bytes }
    return { before: this.#counts.part, after: this.#written.part }
  }

  counted(): void {
    if (this.#written.bytes.length < SEGMENT_BYTES) this.#counts = this.#written
    else {
      this.#number += 1
      this.#counts = { part: ['', 0], bytes: Buffer.alloc(0) }
    }
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}
