import { createHash } from 'node:crypto'
import { createReadStream, openAsBlob } from 'node:fs'
import { EXIT, ExitError } from '@drover/service'
import { ask, reasonOf, type Gateway } from '../../gateway-client.ts'
import { refusal } from '../lines.ts'

/** Bytes that are read at once. */
const PIECE = 1024 ** 2

/**
 * Sends a file to the gateway, unless it is there already, so that a model can be made of it.
 * @returns its digest, `sha256:` and 64 hex digits @throws ExitError with what is wrong with the file, or the gateway's words
 */
export const sendFile = async (gateway: Gateway, path: string, signal: AbortSignal): Promise<string> => {
  const hash = createHash('sha256')
  try {
    for await (const piece of createReadStream(path, { highWaterMark: PIECE, signal })) hash.update(piece as Buffer)
  } catch (error) {
    signal.throwIfAborted()
    throw new ExitError(`${path} cannot be read: ${reasonOf(error)}`)
  }
  const digest = `sha256:${hash.digest('hex')}`
  const there = await ask(gateway, `/api/blobs/${digest}`, { method: 'HEAD', signal })
  if (there.ok) return digest
  const answer = await ask(gateway, `/api/blobs/${digest}`, { signal, body: await openAsBlob(path) })
  if (!answer.ok) throw new ExitError(refusal(await answer.text()), EXIT.failed)
  return digest
}
