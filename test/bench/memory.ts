import { SLOTS, type Drover } from './drover.ts'
import type { Load } from './load.ts'
import type { Part } from './part.ts'
import type { Stage } from './stage.ts'
import { memoryOf } from './usage.ts'

/** MB of one process. */
export interface MemoryPoint {
  streams: number
  /** As it is, with whatever garbage lies about. */
  rss: number
  /** Soon after its garbage was collected; `heap` and `external` are what is really in use. Not of the proxy. */
  settled?: { rss: number; pss: number; heap: number; external: number }
}

export interface MemoryResult {
  gateway: MemoryPoint[]
  worker: MemoryPoint[]
  proxy: MemoryPoint[]
  /** Bytes of Redis' memory per open stream, at the most streams. */
  redisPerStream: number
}

const MB = 1024 * 1024
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Streams that stay open and get a token each second. */
const slow = (streams: number): Load => ({
  streams, tokens: 1_000, rate: 1, stream: true, cycleMs: 'once', jitterMs: 0, spreadMs: 2 * streams, rampMs: 0, windowMs: 0, models: Math.ceil(streams / (SLOTS - 24)),
})

const sample = async (part: Part, streams: number, settles: boolean): Promise<MemoryPoint> => {
  const rss = memoryOf(part.pid).rss
  if (!settles) return { streams, rss }
  const told = part.word((message) => (message as { settled?: NodeJS.MemoryUsage }).settled)
  part.child.kill('SIGUSR2')
  const { heapUsed, external } = await told
  // Free pages go back to the system in their own time.
  await sleep(1_000)
  return { streams, rss, settled: { ...memoryOf(part.pid), heap: heapUsed / MB, external: external / MB } }
}

/** Memory of a gateway, a worker and the bare proxy with no, with some and with many streams open. The Drover should be a fresh, warmed one. */
export const measureMemory = async (stage: Stage, drover: Drover, counts: readonly number[], restMs: number): Promise<MemoryResult> => {
  const { client, meter, aim, proxy, proxyUrl } = stage
  const result: MemoryResult = { gateway: [], worker: [], proxy: [], redisPerStream: 0 }
  let idle = 0
  for (const streams of counts) {
    if (streams > 0) await client.hold(slow(streams), aim(drover.url))
    await sleep(restMs)
    const { memory } = await meter.read()
    if (streams === 0) idle = memory
    else result.redisPerStream = (memory - idle) / streams
    for (const name of ['gateway', 'worker'] as const) result[name].push(await sample(drover[name], streams, true))
    await client.drop()
    await drover.quiet()
    if (streams > 0) await client.hold(slow(streams), aim(proxyUrl))
    await sleep(restMs)
    result.proxy.push(await sample(proxy, streams, false))
    await client.drop()
    await sleep(restMs)
  }
  return result
}
