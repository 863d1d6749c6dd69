import { randomBytes } from 'node:crypto'
import type { GatewayConnection } from '@drover/broker'
import { BrokerError, isOver, type Batch, type BatchSpec, type Caller, type FilePart } from '@drover/core'
import { dialectByPath } from '@drover/dialects'
import type { Context, Hono } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { checked, checkedJson } from '../checked.ts'
import { expiresAfter } from '../files/file-object.ts'
import { contentOf } from '../files/content-store.ts'
import { bodyOf, storeOf, type FilesDeps } from '../files/files.ts'
import { inForm, openAi } from '../files/in-form.ts'
import { claimedId } from '../idempotency.ts'
import { readBody } from '../read-body.ts'
import { BatchesQuery, batchObject, CreateBatch } from './batch-object.ts'
import type { Runners } from './runners.ts'

export interface BatchDeps extends Omit<FilesDeps, 'broker' | 'settings'> {
  broker: Pick<GatewayConnection, 'files' | 'batches' | 'claims'>
  settings: FilesDeps['settings'] & {
    /** How long a batch may take, ms. */
    batchWindowMs: number
  }
  runners: Runners | undefined
}

/** Paths that the lines of a batch may name. */
export const ENDPOINTS = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses', '/api/chat', '/api/generate', '/api/embed'] as const
const BODY_BYTES = 64 * 1024

export const noBatch = (id: string) => new BrokerError('bad_request', `No batch found with id '${id.slice(0, 100)}'.`, { status: 404 })

const fileId = () => `file-${randomBytes(16).toString('hex')}`

/** Makes a batch of a file of the caller's. @throws BrokerError */
export const makeBatch = async (deps: BatchDeps, caller: Caller, id: string, spec: Omit<BatchSpec, 'inputParts' | 'output' | 'errors' | 'seed'>): Promise<Batch> => {
  const { broker, store, settings, runners } = deps
  const input = await broker.files.get(spec.input, caller)
  if (!input || input.purpose !== 'batch') throw new BrokerError('bad_request', `input_file_id: there is no file '${spec.input}' with purpose 'batch'`)
  storeOf(store, input.store)
  const whole: BatchSpec = { ...spec, inputParts: input.parts, output: fileId(), errors: fileId(), seed: randomBytes(16).toString('hex') }
  const added = await broker.batches.add(id, caller, whole, settings.batchWindowMs)
  if (added === 'file') throw new BrokerError('bad_request', `input_file_id: there is no file '${spec.input}' with purpose 'batch'`)
  if (added === 'full') throw new BrokerError('queue_full', 'server busy, please try again.  too many batches have not ended')
  runners?.poke()
  const batch = await broker.batches.get(id, caller)
  if (!batch) throw new BrokerError('internal', 'the batch was not kept')
  return batch
}

/** What counts of a batch's results, while it runs and after its end. */
export const resultsOf = async ({ broker }: BatchDeps, { id, state, outputFile, errorFile }: Batch, caller: Caller): Promise<readonly FilePart[]> => {
  if (!isOver(state)) return broker.batches.parts(id)
  const files = await Promise.all([outputFile, errorFile].map((file) => (file === undefined ? undefined : broker.files.get(file, caller))))
  return files.flatMap((file) => file?.parts ?? [])
}

/** OpenAI's batches, and what Drover tells beside. */
export const batchRoutes = (app: Hono<GatewayEnv>, deps: BatchDeps): void => {
  const { broker } = deps
  const answer = openAi(deps)
  const found = async (c: Context<GatewayEnv>, view?: BatchSpec['view']): Promise<Batch> => {
    const id = c.req.param('batch') ?? ''
    const batch = await broker.batches.get(id, c.get('caller'))
    if (!batch || (view !== undefined && batch.spec.view !== view)) throw noBatch(id)
    return batch
  }

  app.post('/v1/batches', answer(async (c) => {
    deps.admission.checkMemory()
    const text = await readBody(c.env.incoming, { limit: BODY_BYTES })
    const asked = checkedJson(CreateBatch, text)
    const dialect = (ENDPOINTS as readonly string[]).includes(asked.endpoint) ? dialectByPath.get(asked.endpoint) : undefined
    if (!dialect) throw new BrokerError('bad_request', `endpoint: can be ${ENDPOINTS.join(', ')}`)
    const { anchor, seconds } = asked.output_expires_after ?? {}
    const caller = c.get('caller')
    const made = `batch_${randomBytes(16).toString('hex')}`
    const id = await claimedId(broker.claims, { headers: c.env.incoming.headers, owner: caller.owner, kind: 'batch', body: text, id: made, keepMs: deps.settings.keepResultsMs })
    const before = id === made ? undefined : await broker.batches.get(id, caller)
    if (before) return c.json(batchObject(before))
    const batch = await makeBatch(deps, caller, id, {
      view: 'openai',
      endpoint: asked.endpoint,
      dialect: dialect.id,
      input: asked.input_file_id,
      window: asked.completion_window,
      metadata: asked.metadata ?? null,
      filesKeepMs: expiresAfter(anchor, seconds) ?? deps.settings.fileKeepMs,
    })
    return c.json(batchObject(batch))
  }))

  app.get('/v1/batches', answer(async (c) => {
    const { items, more } = await broker.batches.list(c.get('caller'), 'openai', checked(BatchesQuery, c.req.query(), 'the query'))
    const data = items.map(batchObject)
    return c.json({ object: 'list', data, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null, has_more: more })
  }))

  app.get('/v1/batches/:batch', answer(async (c) => c.json(batchObject(await found(c, 'openai')))))

  app.post('/v1/batches/:batch/cancel', answer(async (c) => {
    const { id, state } = await found(c, 'openai')
    if (isOver(state)) throw new BrokerError('bad_request', `Cannot cancel a batch with status '${state}'.`, { status: 409 })
    await broker.batches.cancel(id, c.get('caller'))
    deps.runners?.poke(id)
    return c.json(batchObject(await found(c, 'openai')))
  }))

  app.get('/api/batches/:batch/results', inForm('ollama.chat')(deps)(async (c) => {
    const batch = await found(c)
    const parts = await resultsOf(deps, batch, c.get('caller'))
    return c.body(await bodyOf(contentOf(storeOf(deps.store, batch.store), parts)), 200, { 'content-type': 'application/x-ndjson' })
  }))
}
