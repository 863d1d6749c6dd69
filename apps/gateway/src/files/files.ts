import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import type { GatewayConnection } from '@drover/broker'
import { BrokerError, type StoredFile } from '@drover/core'
import type { Context, Hono } from 'hono'
import type { Admission } from '../admission.ts'
import type { GatewayEnv } from '../app.ts'
import { checked } from '../checked.ts'
import { claimedId, idempotencyKey } from '../idempotency.ts'
import type { RefuseDeps } from '../refuse-here.ts'
import { Digest } from './digest.ts'
import { openAi } from './in-form.ts'
import { contentOf, type ContentStore } from './content-store.ts'
import { FilesQuery, expiresAfter, fileObject } from './file-object.ts'
import { NewContent } from './new-content.ts'
import { upload } from './upload.ts'

export interface FilesDeps extends RefuseDeps {
  admission: Pick<Admission, 'checkMemory' | 'retryAfterMs'>
  broker: Pick<GatewayConnection, 'files' | 'claims'>
  /** Absent: this gateway has no place for files. */
  store: ContentStore | undefined
  settings: {
    /** Most bytes of one file. */
    fileLimit: number
    /** How long a file is kept whose client does not say, ms. */
    fileKeepMs: number
    /** How long it is known what a request with an `Idempotency-Key` has made, ms. */
    keepResultsMs: number
  }
}

export const noFile = (id: string) => new BrokerError('bad_request', `No such File object: ${id.slice(0, 100)}`, { status: 404 })

/** @throws BrokerError where this gateway has no place for files, or another one than the file's */
export const storeOf = (store: ContentStore | undefined, wanted?: string): ContentStore => {
  if (!store) throw new BrokerError('bad_request', 'this gateway keeps no files: its folder for them (--files-dir) cannot be used', { status: 501 })
  if (wanted !== undefined && wanted !== store.id)
    throw new BrokerError('bad_request', 'the file lies in a folder or bucket that this gateway does not have: ask the gateway that took it, or let all of them share one (--files-dir, --files-s3)', { status: 409 })
  return store
}

/** Content as the body of an answer, read as the client reads; what keeps it from beginning is thrown here, where it can still be told. */
export const bodyOf = async (content: AsyncIterable<Uint8Array>): Promise<ReadableStream<Uint8Array>> => {
  const pieces = content[Symbol.asyncIterator]()
  let first: IteratorResult<Uint8Array> | undefined = await pieces.next()
  const rest: AsyncIterator<Uint8Array> = {
    next: async () => {
      const piece = first ?? (await pieces.next())
      first = undefined
      return piece
    },
    // Also where nobody has read any of it.
    return: async () => (await pieces.return?.()) ?? { done: true, value: undefined },
  }
  return Readable.toWeb(Readable.from({ [Symbol.asyncIterator]: () => rest }, { objectMode: false })) as ReadableStream<Uint8Array>
}

/** OpenAI's files, for the purpose of batches. */
export const fileRoutes = (app: Hono<GatewayEnv>, deps: FilesDeps): void => {
  const { broker } = deps
  const found = async (c: Context<GatewayEnv>): Promise<StoredFile> => {
    const id = c.req.param('file') ?? ''
    const file = await broker.files.get(id, c.get('caller'))
    if (!file) throw noFile(id)
    return file
  }
  const answer = openAi(deps)

  app.post('/v1/files', answer(async (c) => {
    const store = storeOf(deps.store)
    deps.admission.checkMemory()
    const { headers } = c.env.incoming
    const caller = c.get('caller')
    // Of the content: should this be a repetition, the file has another's.
    const name = `file-${randomBytes(16).toString('hex')}`
    const digest = new Digest(idempotencyKey(headers) !== undefined)
    const made = new NewContent(broker.files, store)
    let kept = false
    try {
      const { fields, filename } = await upload(c.env.incoming, { limit: deps.settings.fileLimit, write: (content) => made.write(name, digest.of(content)) })
      const purpose = fields.get('purpose')
      if (purpose !== 'batch') throw new BrokerError('bad_request', purpose === undefined ? "the form has no field 'purpose'" : "files are kept for the purpose 'batch' only")
      const expiresMs = expiresAfter(fields.get('expires_after[anchor]'), fields.get('expires_after[seconds]')) ?? deps.settings.fileKeepMs
      const said = [...fields].toSorted().flat()
      const id = await claimedId(broker.claims, { headers, owner: caller.owner, kind: 'file', body: Buffer.from(JSON.stringify([said, filename, digest.value])), id: name, keepMs: deps.settings.keepResultsMs })
      kept = true
      const file = await broker.files.add({
        id,
        owner: caller.owner,
        purpose,
        name: filename.slice(0, 256) || 'upload.jsonl',
        bytes: made.bytes,
        store: store.id,
        parts: made.parts,
        expiresMs,
      })
      const its = id === name ? file : ((await broker.files.get(id, caller)) ?? file)
      if (its.parts[0]?.[0] !== made.parts[0]?.[0]) await made.abandon()
      return c.json(fileObject(its))
    } catch (error) {
      // Once Redis was asked to keep the file, it may have it, whatever was heard of that.
      if (!kept) await made.abandon().catch(() => undefined)
      throw error
    }
  }))

  app.get('/v1/files', answer(async (c) => {
    const { after, limit, order, purpose } = checked(FilesQuery, c.req.query(), 'the query')
    const { items, more } = await broker.files.list(c.get('caller'), { after, limit, order, purpose })
    const data = items.map(fileObject)
    return c.json({ object: 'list', data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more: more })
  }))

  app.get('/v1/files/:file', answer(async (c) => c.json(fileObject(await found(c)))))

  app.get('/v1/files/:file/content', answer(async (c) => {
    const file = await found(c)
    const store = storeOf(deps.store, file.store)
    return c.body(await bodyOf(contentOf(store, file.parts)), 200, { 'content-type': 'application/octet-stream', 'content-length': String(file.bytes) })
  }))

  app.delete('/v1/files/:file', answer(async (c) => {
    const id = c.req.param('file') ?? ''
    if (!(await broker.files.drop(id, c.get('caller')))) throw noFile(id)
    return c.json({ id, object: 'file', deleted: true })
  }))
}
