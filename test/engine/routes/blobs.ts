import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { sendJson } from '../answer.ts'
import type { EngineContext } from '../context.ts'
import { hasBlob, writeBlob } from '../store.ts'

/** Files that models are to be made of, as an Ollama takes them: where it has a folder. */
export const blobRoute = async ({ settings: { store } }: EngineContext, request: IncomingMessage, response: ServerResponse, digest: string): Promise<void> => {
  const isThere = store !== '' && hasBlob(store, digest)
  if (request.method === 'HEAD') return void response.writeHead(isThere ? 200 : 404).end()
  const bytes = await buffer(request)
  const got = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if (store === '') return sendJson(response, { error: 'open blobs: no such file or directory' }, 500)
  if (got !== digest) return sendJson(response, { error: `digest mismatch, expected "${digest}", got "${got}"` }, 400)
  if (!isThere) await writeBlob(store, bytes)
  response.writeHead(isThere ? 200 : 201).end()
}
