import { setTimeout as sleep } from 'node:timers/promises'
import type { Tell } from './history.ts'
import { random } from './random.ts'
import { ENGINES } from './schedule.ts'
import { MODELS } from './site.ts'

export interface BatchLoad {
  urls: readonly string[]
  lines: number
  seed: number
  tell: Tell
  /** When nothing keeps a batch from its end any more; so long after that it must have ended. */
  lifted: Promise<unknown>
}

const TRY_MS = 5_000
const PAUSE_MS = 400
const PATIENCE_MS = 120_000

interface Batch {
  id: string
  status: string
  output_file_id?: string | null
  error_file_id?: string | null
  request_counts?: { total: number; completed: number; failed: number }
}

interface Result {
  custom_id: string
  response?: { status_code: number; body?: { choices?: { message?: { content?: string } }[] } } | null
  error?: { message?: string } | null
}

const keyOf = (i: number): string => `batch-${i}`

const ENDED: ReadonlySet<string> = new Set(['failed', 'completed', 'expired', 'cancelled'])

const json = async <T>(response: Response): Promise<T> => (await response.json()) as T

const post = (body: unknown, key: string) => () => ({ method: 'POST', headers: { 'content-type': 'application/json', 'idempotency-key': key }, body: JSON.stringify(body) })

/** One batch that is handed in while faults go on, by a client who asks again whatever is not answered. Tells the history what came back. */
export const runBatch = async ({ urls, lines, seed, tell, lifted }: BatchLoad): Promise<void> => {
  const r = random(seed).fork('batch')
  const tokens = Array.from({ length: lines }, () => r.int(2, 30))
  let giveUpAt = Infinity
  void lifted.then(() => (giveUpAt = performance.now() + PATIENCE_MS))
  /** Asks one gateway after the other until one answers with what it promises. */
  const ask = async <T>(path: string, init: () => RequestInit, read: (response: Response) => Promise<T>): Promise<T> => {
    for (let tries = 0; ; tries += 1) {
      let why: unknown
      try {
        const response = await fetch((urls[tries % urls.length] ?? '') + path, { ...init(), signal: AbortSignal.timeout(TRY_MS) })
        if (response.ok) return await read(response)
        why = `${response.status} ${(await response.text()).slice(0, 200)}`
      } catch (error) {
        why = error
      }
      if (performance.now() > giveUpAt) throw new Error(`${path}: ${String(why)}`)
      await sleep(PAUSE_MS)
    }
  }
  try {
    // Models in turns of a hundred: a runner that follows the file would swap all the time.
    const text = tokens.map((count, i) =>
      JSON.stringify({ custom_id: keyOf(i), method: 'POST', url: '/v1/chat/completions', body: { model: MODELS[ENGINES[Math.floor(i / 100) % ENGINES.length] ?? 'ollama'], temperature: 0, messages: [{ role: 'user', content: `job=${keyOf(i)} tokens=${count} rate=${r.int(40, 200)}` }] } })).join('\n')
    const form = () => {
      const body = new FormData()
      body.set('purpose', 'batch')
      body.set('file', new Blob([text]), 'campaign.jsonl')
      return { method: 'POST', body }
    }
    const file = await ask('/v1/files', form, json<{ id: string }>)
    const { id } = await ask('/v1/batches', post({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' }, `campaign-${seed}`), json<Batch>)
    tell({ who: 'batch', type: 'begin', tokens })
    let batch = await ask(`/v1/batches/${id}`, () => ({}), json<Batch>)
    while (!ENDED.has(batch.status)) {
      if (performance.now() > giveUpAt) throw new Error(`it is still ${batch.status}: ${JSON.stringify(batch.request_counts)}`)
      await sleep(PAUSE_MS)
      batch = await ask(`/v1/batches/${id}`, () => ({}), json<Batch>)
    }
    for (const [name, of] of [['output', batch.output_file_id], ['error', batch.error_file_id]] as const) {
      if (!of) continue
      const results = await ask(`/v1/files/${of}/content`, () => ({}), (response) => response.text())
      for (const line of results.split('\n').filter(Boolean)) {
        const { custom_id: key, response, error } = JSON.parse(line) as Result
        tell({ who: 'batch', type: 'line', file: name, key, text: response?.body?.choices?.[0]?.message?.content ?? '', ...(error && { error: error.message ?? '' }) })
      }
    }
    tell({ who: 'batch', type: 'end', status: batch.status, counts: batch.request_counts ?? { total: 0, completed: 0, failed: 0 } })
  } catch (error) {
    tell({ who: 'batch', type: 'lost', why: error instanceof Error ? error.message : String(error) })
  }
}
