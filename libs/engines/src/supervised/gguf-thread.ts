import { stat } from 'node:fs/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { gguf, GGMLFileQuantizationType } from '@huggingface/gguf'
import { factsOf } from './gguf-facts.ts'
import type { GgufReading } from './gguf-header.ts'

/** Reads the headers of the files that it is given, one after the other, and tells that it has begun and what each says. A thread of `gguf-header.ts`. */
const read = async (path: string): Promise<GgufReading> => {
  const { size } = await stat(path)
  if (size === 0) return { kind: 'incomplete' }
  try {
    const header = await gguf(path, { allowLocalFile: true })
    // Behind the end of a file the parser reads zeros and takes them for entries.
    if (header.tensorInfoByteRange[1] > size) return { kind: 'incomplete' }
    const facts = factsOf({ ...header, metadata: { ...header.metadata } }, GGMLFileQuantizationType)
    return facts.wholeBytes > size ? { kind: 'incomplete' } : { kind: 'whole', facts }
  } catch (error) {
    return { kind: 'unreadable', reason: error instanceof Error ? error.message : String(error) }
  }
}

const tell = parentPort?.postMessage.bind(parentPort)
tell?.('begun')
for (const path of workerData as string[]) {
  tell?.(await read(path).catch((error: Error): GgufReading => ({ kind: 'unreadable', reason: error.message })))
}
