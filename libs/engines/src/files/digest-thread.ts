import { createHash } from 'node:crypto'
import { openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import type { Grown } from './growing-digest.ts'

/** Works out the digest of a file while it grows, as far as it is told to. A thread of `growing-digest.ts`. */
const PIECE = 1024 ** 2

const tell = parentPort?.postMessage.bind(parentPort)
const file = openSync(workerData as string, 'r')
const hash = createHash('sha256')
const buffer = Buffer.alloc(PIECE)
let at = 0

parentPort?.on('message', ({ to, last }: Grown) => {
  while (at < to) {
    const bytes = readSync(file, buffer, 0, Math.min(PIECE, to - at), at)
    if (bytes === 0) throw new Error('the file is shorter than it was')
    hash.update(buffer.subarray(0, bytes))
    at += bytes
  }
  if (last) tell?.(hash.digest('hex'))
})
