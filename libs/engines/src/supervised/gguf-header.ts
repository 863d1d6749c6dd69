import { Worker } from 'node:worker_threads'
import type { GgufFacts } from './gguf-facts.ts'

/** What came of reading a file's header. `incomplete`: still being written, or cut off. */
export type GgufReading = { kind: 'whole'; facts: GgufFacts } | { kind: 'incomplete' } | { kind: 'unreadable'; reason: string }

const FILE_MS = 3_000
/** How long the thread may take until it begins, on a machine that is busy with other things. */
const BEGIN_MS = 30_000
/** A header is some megabytes, most of it vocabulary; a file may claim anything. */
const MEMORY_MB = 512

/**
 * The headers of GGUF files, in the order of the paths; the weights are not read. It is done in a thread of its own, so that a file that
 * claims a header without end costs 3 s and 512 MB at most and nothing else stops meanwhile.
 */
export const readGgufHeaders = async (paths: readonly string[]): Promise<GgufReading[]> => {
  const readings: GgufReading[] = []
  while (readings.length < paths.length) readings.push(...(await readSome(paths.slice(readings.length))))
  return readings
}

/** At least one reading: a file that ends the thread is the last that it has read. */
const readSome = (paths: readonly string[]): Promise<GgufReading[]> =>
  new Promise((resolve) => {
    const readings: GgufReading[] = []
    const thread = new Worker(new URL('gguf-thread.ts', import.meta.url), {
      workerData: paths,
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
    })
    const over = (reason: string): void => {
      clearTimeout(timer)
      if (readings.length < paths.length) readings.push({ kind: 'unreadable', reason })
      void thread.terminate().then(() => resolve(readings))
    }
    const late = () => over(`its header takes more than ${FILE_MS / 1000} s to read`)
    let timer = setTimeout(late, BEGIN_MS)
    thread.on('message', (message: GgufReading | 'begun') => {
      clearTimeout(timer)
      if (message !== 'begun') readings.push(message)
      if (readings.length === paths.length) over('')
      else timer = setTimeout(late, FILE_MS)
    })
    thread.on('error', (error: Error) => over(`its header cannot be read: ${error.message}`))
  })
