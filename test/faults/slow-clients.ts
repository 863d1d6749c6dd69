import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { readListening } from '@drover/service'
import { startPart, type Part } from '../bench/part.ts'
import { memoryOf } from '../bench/usage.ts'
import { startScriptedEngine } from '../engine/server.ts'
import { startCannedEngine } from '../support/canned-engine.ts'
import { ask } from '../support/client.ts'
import { Installation, statusOf, until } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'

export interface SlowClientsOptions {
  /** Clients that read one byte a second. */
  clients: number
  /** Times that they come and go, and ms that others are measured with and without them. */
  rounds: number
  windowMs: number
  /** Other clients, that read as they should. */
  others: number
  progress?(text: string): void
}

export interface SlowClientsResult {
  /** KB of the gateway for each slow client, the most of all rounds: of the process, and really in use once garbage was collected. */
  rssEach: number
  usedEach: number
  /** ms of the others' requests, without slow clients and with them. */
  p99: Record<'without' | 'with', number>
  /** Requests of others that were not answered as they should. */
  wrong: number
}

const GATEWAY = fileURLToPath(new URL('../../apps/gateway/src/main.ts', import.meta.url))
const SETTLE = new URL('../bench/settle.ts', import.meta.url).href
const MODEL = 'long:latest'
/** An answer that is larger than what the kernel keeps for it, 4 MB. */
const EVENTS = 620
const EVENT_CHARS = 8_000
/** Such answers at once: what is measured is clients that read slowly, not what a burst leaves behind in the heap. */
const WRITTEN_AT_ONCE = 8
const SLOTS = 256
const REQUEST = JSON.stringify({ model: MODEL, stream: true, messages: [{ role: 'user', content: 'much' }] })

/** A client that reads a byte a second from the kernel, and nothing ahead. */
const slowClient = (url: string): Socket => {
  const { hostname, port } = new URL(url)
  let timer: NodeJS.Timeout | undefined
  const socket = connect({
    host: hostname,
    port: Number(port),
    onread: {
      buffer: Buffer.alloc(1),
      callback: () => {
        timer = setTimeout(() => socket.resume(), 1_000)
        return false
      },
    },
  })
  socket.on('error', () => undefined)
  socket.on('close', () => clearTimeout(timer))
  socket.write(`POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(REQUEST)}\r\n\r\n${REQUEST}`)
  return socket
}

const settled = async (gateway: Part): Promise<{ rss: number; used: number }> => {
  const told = gateway.word((message) => (message as { settled?: NodeJS.MemoryUsage }).settled)
  gateway.child.kill('SIGUSR2')
  const { heapUsed, external } = await told
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  return { rss: memoryOf(gateway.pid).rss * 1024, used: (heapUsed + external) / 1024 }
}

const p99 = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[Math.floor(list.length * 0.99)] ?? NaN

/** Slow clients come and go; the gateway's memory and what others get are measured with and without them, in turns. */
export const slowClients = async ({ clients, rounds, windowMs, others, progress = () => undefined }: SlowClientsOptions): Promise<SlowClientsResult> => {
  const redis = await startRedis({ args: ['--appendonly', 'no'] })
  const canned = await startCannedEngine('ollama', MODEL)
  const said = 'x'.repeat(EVENT_CHARS)
  canned.answers('/api/chat', {
    answer: Array.from({ length: EVENTS + 1 }, (_, i) => ({ model: MODEL, created_at: '2026-11-20T12:00:00Z', message: { role: 'assistant', content: said }, done: i === EVENTS })),
  })
  const scripted = await startScriptedEngine({ slots: SLOTS })
  const drover = new Installation(redis.url)
  const gateway = startPart('gateway', GATEWAY, { node: ['--import', SETTLE], env: { ...drover.env, DROVER_LOG_FORMAT: 'json', DROVER_PORT: '0' } })
  let jobs = 0
  let wrong = 0
  try {
    const url = await gateway.word(readListening)
    await drover.worker('n1', [{ url: canned.url, slots: WRITTEN_AT_ONCE }, { url: scripted.url, slots: SLOTS }], { gateway: { url } })
    const measure = async (): Promise<number[]> => {
      const times: number[] = []
      const end = performance.now() + windowMs
      await Promise.all(Array.from({ length: others }, async () => {
        while (performance.now() < end) {
          const began = performance.now()
          const { ended, verdict } = await ask(url, 'ollama.chat', { key: `o${(jobs += 1)}`, script: { tokens: 20, rate: 100 } }).told
          times.push(performance.now() - began)
          if (!ended || !verdict.ok) wrong += 1
        }
      }))
      return times
    }
    const come = async (): Promise<Socket[]> => {
      const sockets = Array.from({ length: clients }, () => slowClient(url))
      await until('all answers have been written', async () => (await statusOf(url)).lanes.every(({ waiting, running }) => waiting + running === 0) && (await statusOf(url)).gateway.open_answers === clients, 120_000)
      return sockets
    }
    const go = async (sockets: Socket[]) => {
      for (const socket of sockets) socket.destroy()
      await until('they are gone', async () => (await statusOf(url)).gateway.open_answers === 0, 30_000)
    }
    // The same traffic, read as it should be, and slow clients once: heap and others take the size that they need for it.
    await Promise.all(Array.from({ length: clients }, async () => (await fetch(`${url}/api/chat`, { method: 'POST', body: REQUEST })).arrayBuffer()))
    await go(await come())
    await measure()
    const times = { without: [] as number[], with: [] as number[] }
    const each = { rss: -Infinity, used: -Infinity }
    for (let round = 0; round < rounds; round += 1) {
      const before = await settled(gateway)
      times.without.push(...(await measure()))
      const sockets = await come()
      times.with.push(...(await measure()))
      const after = await settled(gateway)
      each.rss = Math.max(each.rss, (after.rss - before.rss) / clients)
      each.used = Math.max(each.used, (after.used - before.used) / clients)
      progress(`round ${round + 1}: ${Math.round(before.rss / 1024)} MB, with ${clients} slow clients ${Math.round(after.rss / 1024)} MB; in use ${Math.round(before.used / 1024)} and ${Math.round(after.used / 1024)} MB`)
      await go(sockets)
    }
    return { rssEach: each.rss, usedEach: each.used, p99: { without: p99(times.without), with: p99(times.with) }, wrong }
  } finally {
    await gateway.stop()
    await drover.stop()
    await scripted.close()
    await canned.close()
    await redis.stop()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { clients: { type: 'string', default: '200' }, rounds: { type: 'string', default: '3' }, seconds: { type: 'string', default: '10' }, others: { type: 'string', default: '20' } } })
  const [clients, rounds, seconds, others] = [values.clients, values.rounds, values.seconds, values.others].map(Number) as [number, number, number, number]
  const result = await slowClients({ clients, rounds, windowMs: 1_000 * seconds, others, progress: (text) => process.stderr.write(`${text}\n`) })
  process.stdout.write(`${JSON.stringify(result, undefined, 1)}\n`)
  process.exitCode = result.wrong === 0 && result.rssEach < 64 && result.p99.with < 1.1 * result.p99.without ? 0 : 1
}
