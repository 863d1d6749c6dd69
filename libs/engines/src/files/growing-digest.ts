import { Worker } from 'node:worker_threads'

/** To a thread: the file is whole up to here. `last`: and at its end. */
export interface Grown {
  to: number
  last: boolean
}

/** SHA-256 of a file that is being written, worked out behind the writer by a thread of its own: a worker's answers do not wait for it. */
export class GrowingDigest {
  #thread: Worker
  #digest: Promise<string>
  #tell: (grown: Grown) => void

  constructor(path: string) {
    this.#thread = new Worker(new URL('digest-thread.ts', import.meta.url), { workerData: path })
    this.#tell = this.#thread.postMessage.bind(this.#thread)
    this.#digest = new Promise((resolve, reject) => this.#thread.on('message', resolve).on('error', reject))
    this.#digest.catch(() => undefined)
  }

  /** Bytes up to here stay as they are. */
  grown(to: number): void {
    this.#tell({ to, last: false })
  }

  /** It has so many bytes, and no more will come. @returns 64 hex digits @throws Error the system's */
  whole(size: number): Promise<string> {
    this.#tell({ to: size, last: true })
    return this.#digest
  }

  async close(): Promise<void> {
    await this.#thread.terminate()
  }
}
