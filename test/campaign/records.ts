import { Redis } from 'ioredis'
import type { RedisServer } from '../support/redis-server.ts'
import type { RecordLine, Tell, Untimed } from './history.ts'

export interface Records {
  /** Hears all that clients are told, and looks after their jobs. */
  hears(line: Untimed): void
  /** Resolves when no job is left whose end has not been seen, or after `ms`. */
  settled(ms: number): Promise<void>
  close(): void
}

interface Watched {
  job: string
  due: number
  /** How often its end has been read. */
  ends: number
}

/** Twice: as soon as the client has its end, and when a second writer would have come. ms */
const AGAIN_MS = 4_000
const LIVE_MS = 1_000
const AT_ONCE = 200

/** What a job's hash and log say now. */
const lineOf = (job: string, [fields, log]: [unknown, unknown]): RecordLine => {
  const [deadline, record, attempts] = fields as (string | null)[]
  if (deadline === null || deadline === undefined) return { who: 'redis', type: 'job', job, state: 'gone' }
  const entries = log as [string, string[]][]
  return {
    who: 'redis', type: 'job', job, state: record ? 'ended' : 'live', ...(record && { record }), attempts: Number(attempts ?? 0),
    log: entries.map(([id, [, lease = '', , frames = '[]']]) => {
      const list = JSON.parse(frames) as { end?: unknown }[]
      return { first: Number.parseInt(id, 10), count: list.length, lease, ends: list.filter(({ end }) => end !== undefined).length }
    }),
  }
}

/** Reads from Redis itself how the jobs of the clients have ended, past all proxies. */
export const openRecords = (server: RedisServer, prefix: string, tell: Tell): Records => {
  const redis = new Redis({ ...server.connection, retryStrategy: () => 100, maxRetriesPerRequest: null })
  redis.on('error', () => undefined) // it is killed again and again
  const jobs = new Map<string, string>()
  const watched = new Map<string, Watched>()
  const turn = async () => {
    const now = performance.now()
    const due = [...watched.values()].filter((each) => each.due <= now).slice(0, AT_ONCE)
    if (due.length === 0) return
    const pipeline = redis.pipeline()
    for (const { job } of due) {
      pipeline.hmget(`${prefix}:job:${job}`, 'dl', 'rec', 'att')
      pipeline.xrange(`${prefix}:job:${job}:log`, '-', '+')
    }
    const answers = (await pipeline.exec()) ?? []
    for (const [i, each] of due.entries()) {
      const [[failed, fields] = [], [failedToo, log] = []] = [answers[2 * i], answers[2 * i + 1]]
      if (failed || failedToo || fields === undefined) continue
      const line = lineOf(each.job, [fields, log])
      tell(line)
      if (line.state === 'ended') each.ends += 1
      if (line.state === 'gone' || each.ends >= 2) watched.delete(each.job)
      else each.due = performance.now() + (line.state === 'live' ? LIVE_MS : AGAIN_MS)
    }
  }
  const closing = new AbortController()
  const run = async () => {
    while (!closing.signal.aborted) {
      await turn().catch(() => undefined) // a command under way when it was killed; it is due still
      await new Promise((resolve) => setTimeout(resolve, 150))
    }
  }
  void run()
  return {
    hears(line) {
      if (line.who !== 'client') return
      if (line.type === 'head' && line.job !== undefined) jobs.set(line.key, line.job)
      if (line.type !== 'ok' && line.type !== 'fail' && line.type !== 'info') return
      const job = jobs.get(line.key)
      jobs.delete(line.key)
      if (job !== undefined) watched.set(job, { job, due: performance.now() + 100, ends: 0 })
    },
    async settled(ms) {
      const end = performance.now() + ms
      while (watched.size > 0 && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 100))
    },
    close() {
      closing.abort()
      redis.disconnect()
    },
  }
}
