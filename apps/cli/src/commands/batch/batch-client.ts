import { createWriteStream, openAsBlob } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { EXIT, ExitError } from '@drover/service'
import { z } from 'zod'
import { ask, type Gateway, jsonOf, reasonOf } from '../../gateway-client.ts'

/** A batch as `/v1/batches` shows it. Times are epoch seconds. */
export const Batch = z.object({
  id: z.string(),
  endpoint: z.string(),
  status: z.enum(['validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled']),
  input_file_id: z.string(),
  output_file_id: z.string().nullish(),
  error_file_id: z.string().nullish(),
  created_at: z.number(),
  in_progress_at: z.number().nullish(),
  request_counts: z.object({ total: z.number(), completed: z.number(), failed: z.number() }).nullish(),
  errors: z.object({ data: z.array(z.object({ message: z.string().nullish(), line: z.number().nullish() })).nullish() }).nullish(),
})
export type Batch = z.infer<typeof Batch>

const Stored = z.object({ id: z.string() })
const Batches = z.object({ data: z.array(Batch), has_more: z.boolean().optional() })
const Refusal = z.object({ error: z.object({ message: z.string() }) })

export const hasEnded = ({ status }: Batch): boolean => ['failed', 'completed', 'expired', 'cancelled'].includes(status)

/** Uploads may be long; what is asked in a word is answered in this, ms. */
const ANSWER_MS = 20_000
const FILE_MS = 3_600_000

/** @throws ExitError in the gateway's words */
const checked = async (response: Response, what: string): Promise<Response> => {
  if (response.ok) return response
  const text = await response.text()
  const refused = Refusal.safeParse(jsonOf(text))
  throw new ExitError(`${what}: ${refused.success ? refused.data.error.message : `the gateway answers ${response.status}`}`, EXIT.failed)
}

const read = async <T>(gateway: Gateway, path: string, what: string, schema: z.ZodType<T>, body?: string): Promise<T> => {
  const response = await checked(await ask(gateway, path, { signal: AbortSignal.timeout(ANSWER_MS), body }), what)
  const parsed = schema.safeParse(jsonOf(await response.text()))
  if (!parsed.success) throw new ExitError(`what answers at ${gateway.url} is no Drover gateway of this version`, EXIT.failed)
  return parsed.data
}

/** Sends a file of lines, from disk as it is read. @returns its id */
export const upload = async (gateway: Gateway, path: string): Promise<string> => {
  const form = new FormData()
  form.set('purpose', 'batch')
  form.set('file', await openAsBlob(path), basename(path))
  const response = await checked(await ask(gateway, '/v1/files', { signal: AbortSignal.timeout(FILE_MS), body: form }), `${path} is refused`)
  const parsed = Stored.safeParse(jsonOf(await response.text()))
  if (!parsed.success) throw new ExitError(`what answers at ${gateway.url} keeps no files`, EXIT.failed)
  return parsed.data.id
}

export const createBatch = (gateway: Gateway, file: string, endpoint: string): Promise<Batch> =>
  read(gateway, '/v1/batches', 'the batch is refused', Batch, JSON.stringify({ input_file_id: file, endpoint, completion_window: '24h' }))

const pathOf = (id: string): string => `/v1/batches/${encodeURIComponent(id)}`

export const readBatch = (gateway: Gateway, id: string): Promise<Batch> => read(gateway, pathOf(id), id, Batch)

export const cancelBatch = (gateway: Gateway, id: string): Promise<Batch> => read(gateway, `${pathOf(id)}/cancel`, id, Batch, '')

/** The newest batches. */
export const readBatches = async (gateway: Gateway, limit: number): Promise<Batch[]> => (await read(gateway, `/v1/batches?limit=${limit}`, 'the batches', Batches)).data

const content = async (gateway: Gateway, file: string): Promise<Readable> => {
  const response = await checked(await ask(gateway, `/v1/files/${encodeURIComponent(file)}/content`, { signal: AbortSignal.timeout(FILE_MS) }), file)
  return response.body ? Readable.fromWeb(response.body) : Readable.from([])
}

/** Writes a file of the gateway to disk; what is there already is replaced only by the whole. */
export const download = async (gateway: Gateway, file: string, path: string): Promise<void> => {
  const partial = `${path}.part`
  try {
    await pipeline(await content(gateway, file), createWriteStream(partial))
    await rename(partial, path)
  } catch (error) {
    await rm(partial, { force: true })
    throw error instanceof ExitError ? error : new ExitError(`${path} cannot be written (${reasonOf(error)})`, EXIT.failed)
  }
}

/** Writes a file of the gateway to standard output. */
export const show = async (gateway: Gateway, file: string): Promise<void> => pipeline(await content(gateway, file), process.stdout, { end: false })
