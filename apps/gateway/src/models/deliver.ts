import type { Tickets } from '@drover/broker'
import { BrokerError, COPY_BLOBS_PATH, COPY_TICKET_HEADER, type ModelName, type NodeRecord } from '@drover/core'
import { Agent, request } from 'undici'
import type { BlobSpool } from './blob-spool.ts'

/** An engine checks what it was sent before it answers: for hundreds of gigabytes that takes minutes. */
const ANSWER_MS = 30 * 60_000

const agent = new Agent({ headersTimeout: ANSWER_MS, bodyTimeout: 60_000 })

export interface Delivery {
  node: Pick<NodeRecord, 'id' | 'copies'>
  model: ModelName
  /** SHA-256, 64 hex digits each. */
  digests: readonly string[]
  blobs: BlobSpool
  tickets: Tickets
  signal: AbortSignal
  /** One is on its way. */
  onSend(digest: string): void
}

/**
 * Brings blobs to the engine of a node that is to make a model of them: through its worker, which hands them on as they come. Those that the engine
 * has are not sent.
 * @throws BrokerError `bad_request` for one that neither it nor this gateway has, `engine_failed`; the signal's reason
 */
export const deliver = async ({ node: { id, copies }, model, digests, blobs, tickets, signal, onSend }: Delivery): Promise<void> => {
  if (!copies) throw new BrokerError('engine_failed', `node ${id} takes no files`)
  const origin = `http://${copies.address}:${copies.port}`
  const ask = async (method: 'HEAD' | 'PUT', digest: string, body?: { size: number; read(): AsyncIterable<Uint8Array> }) => {
    const path = `${COPY_BLOBS_PATH}${digest}?${new URLSearchParams({ model }).toString()}`
    const headers = { [COPY_TICKET_HEADER]: tickets.ticket({ node: id, method, path }), ...(body && { 'content-length': String(body.size) }) }
    try {
      const answer = await request(`${origin}${path}`, { method, headers, dispatcher: agent, signal, ...(body && { body: body.read() as never }) })
      return { status: answer.statusCode, text: await answer.body.text() }
    } catch (error) {
      if (signal.aborted) throw new BrokerError('cancelled', 'request canceled')
      throw new BrokerError('engine_failed', `node ${id} cannot be reached for files at ${origin}`, { cause: error })
    }
  }
  for (const digest of digests) {
    const there = await ask('HEAD', digest)
    if (there.status === 200) continue
    if (there.status !== 404) throw new BrokerError('engine_failed', `node ${id} takes no files (status ${there.status})`)
    const blob = await blobs.find(digest)
    if (!blob) throw missingBlob(digest)
    onSend(digest)
    const sent = await ask('PUT', digest, blob)
    if (sent.status !== 201) throw new BrokerError('engine_failed', `node ${id} did not take blob sha256:${digest}: ${sent.text.slice(0, 200)}`)
  }
}

export const missingBlob = (digest: string): BrokerError => new BrokerError('bad_request', `blob sha256:${digest} is not here: send it before, to this gateway`)
