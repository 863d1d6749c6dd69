import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openGateway, type FrameSink } from '@drover/broker'
import { LOCAL, type ModelName } from '@drover/core'
import { startScriptedEngine } from '../engine/server.ts'
import { verifyText } from '../engine/tokens.ts'
import { Installation, until } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'

export interface DeepLaneOptions {
  /** Jobs that wait in the deep lane; 100 wait in the other. */
  jobs: number
  /** Further jobs that are added to each lane, in turns, to see what that takes. */
  pairs: number
  progress?(text: string): void
}

export interface DeepLaneResult {
  /** Jobs that waited at most, and the ms that adding one more takes, at 100 and there. */
  jobs: number
  accept: Record<'shallow' | 'deep', { p50: number; p99: number }>
  /** ms of one look at all lanes, with the deep one. */
  depthsMs: number
  /** Longest that the gateway's event loop stood still while all waited, ms. */
  stillMs: number
  /** Heap of the gateway and memory of Redis for each job that waits, bytes. */
  heapPerJob: number
  redisPerJob: number
  /** What came of all jobs: completed with the right text, ended otherwise, ended more than once. */
  completed: number
  otherwise: number
  twice: number
  /** Requests that engines got. */
  requests: number
  /** From the first lease to the last end, jobs a second. */
  perSecond: number
}

const SHALLOW = 100
/** Submits under way at once while a lane is filled. */
const AT_ONCE = 64
const model = (name: 'shallow' | 'deep') => `${name}:latest` as ModelName

const quantile = (sorted: readonly number[], share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!

/** Heap in use, its garbage collected where Node was told to let us. */
const heap = (): number => (globalThis.gc?.(), process.memoryUsage().heapUsed)

/**
 * Fills a lane, measures what one more job costs there and in a lane of 100, in turns, and then lets a worker do them all. The jobs are
 * submitted as the gateway does it, in this process, and followed by it: a client that waits for each would only measure itself.
 */
export const deepLane = async ({ jobs, pairs, progress = () => undefined }: DeepLaneOptions): Promise<DeepLaneResult> => {
  const redis = await startRedis()
  const engine = await startScriptedEngine({ models: [model('shallow'), model('deep')], slots: 64 })
  const drover = new Installation(redis.url)
  const broker = await openGateway('deep', { url: redis.url, prefix: drover.prefix, laneLimit: 10 * jobs, onError: (error) => progress(String(error)) })
  let [submitted, completed, otherwise, twice] = [0, 0, 0, 0]
  let waiting: (() => void) | undefined

  const submit = async (lane: 'shallow' | 'deep') => {
    const key = `j${(submitted += 1)}`
    let text = ''
    let ended = false
    const sink: FrameSink = {
      frame(frame) {
        text += frame.text ?? ''
        if (!frame.end) return
        if (ended) twice += 1
        else if (frame.end.outcome === 'completed' && verifyText(key, (JSON.parse(text) as { response: string }).response).ok) completed += 1
        else otherwise += 1
        ended = true
        if (completed + otherwise === submitted) waiting?.()
      },
      lost: () => void (otherwise += 1),
    }
    const body = JSON.stringify({ model: model(lane), prompt: `job=${key} tokens=2` })
    const began = performance.now()
    const follow = await broker.jobs.submit(
      { dialect: 'ollama.generate', model: model(lane), asked: model(lane), class: 'interactive', owner: LOCAL, stream: false, slots: 1, body, timeoutMs: 3_600_000 },
      sink,
    )
    return { ms: performance.now() - began, follow }
  }
  const fill = async (lane: 'shallow' | 'deep', count: number) => {
    let left = count
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      while (left-- > 0) await submit(lane)
    }))
  }

  try {
    const before = { heap: heap(), redis: (await broker.memory()).used }
    await fill('shallow', SHALLOW)
    await fill('deep', jobs)
    progress(`${jobs} jobs wait`)
    // What was sent is kept for a while against a Redis that forgets; that is not the depth's doing.
    await new Promise((resolve) => setTimeout(resolve, 4_000))
    const after = { heap: heap(), redis: (await broker.memory()).used }
    let stillMs = 0
    let last = performance.now()
    const ticking = setInterval(() => {
      const now = performance.now()
      stillMs = Math.max(stillMs, now - last - 5)
      last = now
    }, 5)
    const times = { shallow: [] as number[], deep: [] as number[] }
    for (let i = 0; i < pairs; i += 1)
      for (const lane of i % 2 === 0 ? (['shallow', 'deep'] as const) : (['deep', 'shallow'] as const)) {
        const { ms, follow } = await submit(lane)
        times[lane].push(ms)
        // Gone again, so that the depth stays.
        submitted -= 1
        await follow.leave()
      }
    clearInterval(ticking)
    const accept = (lane: 'shallow' | 'deep') => {
      const sorted = times[lane].toSorted((a, b) => a - b)
      return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) }
    }
    const looked = performance.now()
    const depth = (await broker.depths()).reduce((sum, lane) => sum + lane.waiting, 0)
    const depthsMs = performance.now() - looked
    if (depth !== jobs + SHALLOW) throw new Error(`${depth} jobs wait, not ${jobs + SHALLOW}`)
    progress('a worker comes')
    const began = performance.now()
    const done = new Promise<void>((resolve) => (waiting = resolve))
    await drover.worker('n1', [{ url: engine.url, slots: 64 }])
    const telling = setInterval(() => progress(`${completed} done`), 10_000)
    await done.finally(() => clearInterval(telling))
    const seconds = (performance.now() - began) / 1_000
    await until('nothing is left', async () => (await broker.depths()).every((lane) => lane.waiting === 0 && lane.running === 0 && lane.bytes === 0))
    return {
      jobs, accept: { shallow: accept('shallow'), deep: accept('deep') }, depthsMs, stillMs,
      heapPerJob: (after.heap - before.heap) / (jobs + SHALLOW), redisPerJob: (after.redis - before.redis) / (jobs + SHALLOW),
      completed, otherwise, twice, requests: (await engine.admin.stats()).requests, perSecond: submitted / seconds,
    }
  } finally {
    await drover.stop()
    await broker.close()
    await engine.close()
    await redis.stop()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { jobs: { type: 'string', default: '100000' }, pairs: { type: 'string', default: '3000' } } })
  const result = await deepLane({ jobs: Number(values.jobs), pairs: Number(values.pairs), progress: (text) => process.stderr.write(`${text}\n`) })
  process.stdout.write(`${JSON.stringify(result, undefined, 1)}\n`)
  const { accept, completed, otherwise, twice, requests } = result
  const held = completed === Number(values.jobs) + SHALLOW && otherwise + twice === 0 && requests === completed && accept.deep.p99 <= 2 * accept.shallow.p99
  process.exitCode = held ? 0 : 1
}
