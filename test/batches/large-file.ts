import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { spawnScriptedEngine } from '../engine/spawn.ts'
import { Installation, until } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'
import { startS3 } from '../support/s3-server.ts'
import { clientOf, ended, resultsOf } from './lines.ts'
import { bucketPlace, folderPlace, type PlaceKind } from './places.ts'

export interface LargeFileOptions {
  lines: number
  /** Of the whole file, about. */
  bytes: number
  /** So many requests are answered before the rest is cancelled; all of them where there are no more. */
  answered: number
  /** Where files lie. */
  kind: PlaceKind
}

export interface LargeFileFigures {
  bytes: number
  uploadMs: number
  validateMs: number
  /** What was said of the bad line, and which line that was. */
  told: { code: string | undefined; line: number | null | undefined } | undefined
  bad: number
  status: string
  counts: Record<string, number>
  /** Peak of the gateway, MB: at first, after the upload, after looking at the file, when enough were answered. */
  peaks: number[]
  /** Every custom_id stands exactly once in the files. */
  once: boolean
  gatewayPeakBytes: number
  redisPeakBytes: number
}

const MB = 1024 * 1024

const peakOf = async (pid: number): Promise<number> => Number(/^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) * 1024

/** A large file: written, uploaded with a bad line near its end, which is to be told by its number; then without it, and run. */
export const largeFile = async ({ lines, bytes, answered, kind }: LargeFileOptions): Promise<LargeFileFigures> => {
  const redis = await startRedis()
  const folder = await mkdtemp(join(redis.dir, 'large-'))
  const s3 = kind === 'bucket' ? await startS3(redis.dir) : undefined
  const place = s3 ? bucketPlace(s3) : await folderPlace(folder)
  const installation = new Installation(redis.url, { ...place.env, NODE_OPTIONS: '--max-semi-space-size=4' })
  const engines = await Promise.all([0, 1, 2].map(() => spawnScriptedEngine({ slots: 8 })))
  const direct = new Redis({ ...redis.connection })
  try {
    const gateway = await installation.gateway()
    await Promise.all(engines.map(({ url }, i) => installation.worker(`n${i}`, [{ url, slots: 8 }], { gateway })))
    const openai = clientOf(gateway.url)
    const bad = lines - 1
    const filler = 'x'.repeat(Math.max(0, Math.floor(bytes / lines) - 200))
    const lineOf = (i: number) => `${JSON.stringify({ custom_id: `large-${i}`, method: 'POST', url: '/v1/chat/completions', body: { model: 'scripted', messages: [{ role: 'user', content: `${filler} job=large-${i} tokens=3` }] } })}\n`
    const upload = async (wrong: boolean) => {
      const path = join(folder, `in-${wrong}.jsonl`)
      await pipeline(Readable.from((function* () { for (let i = 1; i <= lines; i += 1) yield wrong && i === bad ? '{"custom_id": "large\n' : lineOf(i) })()), createWriteStream(path))
      const began = performance.now()
      const file = await openai.files.create({ file: createReadStream(path), purpose: 'batch' })
      return { file, ms: performance.now() - began }
    }
    const create = async (file: string) => (await openai.batches.create({ input_file_id: file, endpoint: '/v1/chat/completions', completion_window: '24h' })).id

    const peaks = [await peakOf(gateway.pid)]
    const first = await upload(true)
    peaks.push(await peakOf(gateway.pid))
    const began = performance.now()
    const failed = await ended(() => openai, await create(first.file.id), 300_000)
    const validateMs = performance.now() - began
    peaks.push(await peakOf(gateway.pid))
    const told = failed.errors?.data?.map(({ code, line }) => ({ code, line }))[0]

    const second = await upload(false)
    const id = await create(second.file.id)
    await until('enough are answered', async () => {
      const { request_counts: counts, status } = await openai.batches.retrieve(id)
      return (counts?.completed ?? 0) >= Math.min(answered, lines) || status === 'failed'
    }, 900_000)
    peaks.push(await peakOf(gateway.pid))
    if (answered < lines) await openai.batches.cancel(id)
    const batch = await ended(() => openai, id, 300_000)
    const { output, errors } = await resultsOf(openai, batch)
    const all = [...output, ...errors].map((line) => line.custom_id)
    const redisPeak = /^used_memory_peak:(\d+)/m.exec(await direct.info('memory'))?.[1]
    return {
      bytes: first.file.bytes,
      uploadMs: first.ms,
      validateMs,
      told,
      bad,
      status: batch.status,
      counts: batch.request_counts as unknown as Record<string, number>,
      peaks: peaks.map((each) => Math.round(each / MB)),
      once: all.length === lines && new Set(all).size === lines,
      gatewayPeakBytes: await peakOf(gateway.pid),
      redisPeakBytes: Number(redisPeak),
    }
  } finally {
    direct.disconnect()
    await installation.stop()
    await Promise.all(engines.map((engine) => engine.close()))
    await s3?.stop()
    await redis.stop()
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { lines: { type: 'string', default: '50000' }, mb: { type: 'string', default: '200' }, answered: { type: 'string', default: '2000' }, bucket: { type: 'boolean', default: false } } })
  const figures = await largeFile({ lines: Number(values.lines), bytes: Number(values.mb) * MB, answered: Number(values.answered), kind: values.bucket ? 'bucket' : 'folder' })
  console.log(JSON.stringify({ ...figures, gatewayPeakMb: Math.round(figures.gatewayPeakBytes / MB), redisPeakMb: Math.round(figures.redisPeakBytes / MB) }, null, 2))
}
