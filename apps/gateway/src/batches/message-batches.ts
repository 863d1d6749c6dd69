import { randomBytes } from 'node:crypto'
import { BrokerError, isOver, type Batch } from '@drover/core'
import { dialects } from '@drover/dialects'
import type { Context, Hono } from 'hono'
import { z } from 'zod'
import type { GatewayEnv } from '../app.ts'
import { checked } from '../checked.ts'
import { contentOf } from '../files/content-store.ts'
import { bodyOf, storeOf } from '../files/files.ts'
import { NewContent } from '../files/new-content.ts'
import { Digest } from '../files/digest.ts'
import { inForm } from '../files/in-form.ts'
import { claimedId, idempotencyKey } from '../idempotency.ts'
import { bytesOf } from '../read-body.ts'
import { makeBatch, noBatch, resultsOf, type BatchDeps } from './batches.ts'
import { elementsOf } from './elements.ts'
import { linesOf } from './lines.ts'
import { messageBatch, messageResult } from './message-batch.ts'

export interface MessageBatchDeps extends BatchDeps {
  settings: BatchDeps['settings'] & { bodyLimit: number; batchLines: number }
}

/** Most bytes of all requests of one batch. */
const MOST_BYTES = 256 * 1024 * 1024
/** Longest line of results, bytes: an answer has at most 16 MB, and its JSON may be read in another spelling. */
const RESULT_BYTES = 64 * 1024 * 1024
const DIALECT = dialects['anthropic.messages']

const ID = z.string().max(100)
const Query = z.object({ after_id: ID.optional(), before_id: ID.optional(), limit: z.coerce.number().int().min(1).max(1000).default(20) })

/** The requests of a body, as lines of a batch's file. `tell` learns how many there are. @throws BrokerError */
async function* linesIn(content: AsyncIterable<Uint8Array>, most: { bytes: number; requests: number }, tell: (count: number) => void): AsyncGenerator<Buffer> {
  const ids = new Set<string>()
  let bytes = 0
  for await (const element of elementsOf(content, { field: 'requests', most: most.bytes })) {
    const place = `requests.${ids.size}`
    let request: { custom_id?: unknown; params?: unknown }
    try {
      request = JSON.parse(element.toString('utf8')) as typeof request
    } catch {
      throw new BrokerError('bad_request', 'the request body is not valid JSON')
    }
    const { custom_id: id, params } = request
    if (typeof id !== 'string' || !/^[a-zA-Z0-9_-]{1,64}$/.test(id)) throw new BrokerError('bad_request', `${place}.custom_id: a text of 1 to 64 letters, digits, - and _`)
    if (ids.has(id)) throw new BrokerError('bad_request', `${place}.custom_id: is used by a request before`)
    if (typeof params !== 'object' || params === null || Array.isArray(params)) throw new BrokerError('bad_request', `${place}.params: Field required`)
    ids.add(id)
    if (ids.size > most.requests) throw new BrokerError('bad_request', `requests: at most ${most.requests}`)
    bytes += element.length
    if (bytes > MOST_BYTES) throw new BrokerError('body_too_large', `requests: larger than ${MOST_BYTES} bytes together`)
    yield Buffer.from(`${JSON.stringify({ custom_id: id, method: 'POST', url: DIALECT.path, body: params })}\n`)
  }
  if (ids.size === 0) throw new BrokerError('bad_request', 'requests: at least one')
  tell(ids.size)
}

/** As its client sees it, who may come through a proxy. */
const shown = (c: Context<GatewayEnv>, batch: Batch) => messageBatch(batch, originOf(c))

/** Anthropic's message batches: another view of the same batches. */
export const messageBatchRoutes = (app: Hono<GatewayEnv>, deps: MessageBatchDeps): void => {
  const { broker } = deps
  const answer = inForm('anthropic.messages')(deps)
  const found = async (c: Context<GatewayEnv>): Promise<Batch> => {
    const id = c.req.param('batch') ?? ''
    const batch = await broker.batches.get(id, c.get('caller'))
    if (batch?.spec.view !== 'anthropic') throw noBatch(id)
    return batch
  }
  app.post('/v1/messages/batches', answer(async (c) => {
    const store = storeOf(deps.store)
    deps.admission.checkMemory()
    const caller = c.get('caller')
    const { headers } = c.env.incoming
    const id = `file-${randomBytes(16).toString('hex')}`
    const digest = new Digest(idempotencyKey(headers) !== undefined)
    const requests = new NewContent(broker.files, store)
    let kept = false
    try {
      let count = 0
      await requests.write(id, digest.of(linesIn(bytesOf(c.env.incoming), { bytes: deps.settings.bodyLimit, requests: deps.settings.batchLines }, (all) => (count = all))))
      kept = true
      await broker.files.add({ id, owner: caller.owner, purpose: 'batch', name: 'requests.jsonl', bytes: requests.bytes, store: store.id, parts: requests.parts, expiresMs: deps.settings.fileKeepMs })
      try {
        const made = `msgbatch_${randomBytes(16).toString('hex')}`
        const its = await claimedId(broker.claims, { headers, owner: caller.owner, kind: 'message-batch', body: Buffer.from(digest.value), id: made, keepMs: deps.settings.keepResultsMs })
        const before = its === made ? undefined : await broker.batches.get(its, caller)
        if (before) return c.json(shown(c, before))
        const batch = await makeBatch(deps, caller, its, {
          view: 'anthropic', endpoint: DIALECT.path, dialect: DIALECT.id, input: id, window: '24h', metadata: null, filesKeepMs: deps.settings.fileKeepMs, count,
        })
        return c.json(shown(c, batch))
      } finally {
        // The batch alone reads it.
        await broker.files.drop(id, caller)
      }
    } catch (error) {
      // Once Redis was asked to keep it, a batch may read it, whatever was heard of that.
      if (!kept) await requests.abandon().catch(() => undefined)
      throw error
    }
  }))

  app.get('/v1/messages/batches', answer(async (c) => {
    const { after_id: after, before_id: before, limit } = checked(Query, c.req.query(), 'the query')
    const { items, more } = await broker.batches.list(c.get('caller'), 'anthropic', before === undefined ? { after, limit } : { after: before, limit, order: 'asc' })
    const data = (before === undefined ? items : items.toReversed()).map((batch) => shown(c, batch))
    return c.json({ data, has_more: more, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null })
  }))

  app.get('/v1/messages/batches/:batch', answer(async (c) => c.json(shown(c, await found(c)))))

  app.post('/v1/messages/batches/:batch/cancel', answer(async (c) => {
    const { id, state } = await found(c)
    if (!isOver(state)) await broker.batches.cancel(id, c.get('caller'))
    deps.runners?.poke(id)
    return c.json(shown(c, await found(c)))
  }))

  app.delete('/v1/messages/batches/:batch', answer(async (c) => {
    const { id, state, owner, outputFile, errorFile } = await found(c)
    if (!isOver(state)) throw new BrokerError('bad_request', `${id} has not ended: cancel it first`)
    for (const file of [outputFile, errorFile]) if (file !== undefined) await broker.files.drop(file, c.get('caller'))
    await broker.batches.drop(id, owner)
    return c.json({ id, type: 'message_batch_deleted' })
  }))

  app.get('/v1/messages/batches/:batch/results', answer(async (c) => {
    const batch = await found(c)
    if (!isOver(batch.state)) throw new BrokerError('bad_request', `${batch.id} has no results yet: it has not ended`, { status: 404 })
    const content = contentOf(storeOf(deps.store, batch.store), await resultsOf(deps, batch, c.get('caller')))
    return c.body(await bodyOf(asMessages(content)), 200, { 'content-type': 'application/x-jsonl' })
  }))
}

const originOf = (c: Context<GatewayEnv>): string => {
  const { origin, host } = new URL(c.req.url)
  return c.req.header('x-forwarded-proto') === 'https' ? `https://${host}` : origin
}

async function* asMessages(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of linesOf(content, RESULT_BYTES)) if (bytes) yield Buffer.from(messageResult(bytes.toString('utf8')))
}
