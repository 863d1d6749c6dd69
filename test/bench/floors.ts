import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { Samples } from './samples.ts'

/**
 * What Redis and BullMQ take by themselves. Started once per side, in processes of their own: `push` and `pop` hand one value at a
 * time from process to process, `add` and `work` run BullMQ's own producer and worker with nothing in the jobs.
 */
const [role = '', path = '', key = ''] = process.argv.slice(2)
const connection = path.startsWith('/') ? { path } : { host: '127.0.0.1', port: Number(path) }
const say = (word: object) => process.send?.(word)
const now = () => Number(process.hrtime.bigint()) / 1e6

/** Adds under way at once, and most jobs that may lie in the queue: it is the rate of a queue that is kept short. */
const IN_FLIGHT = 64
const DEPTH = 1_000

const roles: Record<string, () => Promise<void>> = {
  /** Pushes its clock every 2 ms or so. */
  async push() {
    const redis = new Redis(connection)
    for (;;) {
      await redis.lpush(key, String(now()))
      await new Promise((resolve) => setTimeout(resolve, 1 + 2 * Math.random()))
    }
  },
  async pop() {
    const redis = new Redis(connection)
    let samples = new Samples()
    process.on('message', () => {
      say({ handOff: samples.summary() })
      samples = new Samples()
    })
    for (;;) {
      const popped = await redis.brpop(key, 0)
      if (popped) samples.add(now() - Number(popped[1]))
    }
  },
  async add() {
    const queue = new Queue(key, { connection })
    await queue.waitUntilReady()
    const state = { open: false, added: 0, done: 0 }
    let wake: (() => void) | undefined
    process.on('message', (order: { done?: number; open?: boolean }) => {
      if (order.done !== undefined) state.done = order.done
      if (order.open !== undefined) state.open = order.open
      const then = wake
      wake = undefined
      then?.()
    })
    say({ ready: true })
    let waiters: (() => void)[] = []
    const one = async () => {
      for (;;) {
        while (!state.open || state.added - state.done > DEPTH) {
          await new Promise<void>((resolve) => {
            waiters.push(resolve)
            wake ??= () => {
              const all = waiters
              waiters = []
              for (const each of all) each()
            }
          })
        }
        state.added += 1
        await queue.add('j', { n: state.added }, { removeOnComplete: true, removeOnFail: true })
      }
    }
    await Promise.all(Array.from({ length: IN_FLIGHT }, one))
  },
  async work() {
    let done = 0
    const worker = new Worker(key, async () => void (done += 1), { connection, concurrency: IN_FLIGHT })
    worker.on('error', () => undefined)
    await worker.waitUntilReady()
    setInterval(() => say({ done }), 10)
    say({ ready: true })
  },
}

process.on('disconnect', () => process.exit(1))
process.on('SIGTERM', () => process.exit(0))
await (roles[role] ?? (() => Promise.reject(new Error(`no role ${role}`))))()
