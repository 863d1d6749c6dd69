import { mkdirSync, appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Installation, statusOf, until } from '../support/drover.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { spawnScriptedEngine, type ScriptedEngineProcess } from '../engine/spawn.ts'
import type { ScriptedEngineOptions } from '../engine/options.ts'
import { startFaultProxy, type FaultProxy } from './fault-proxy.ts'
import type { Tell } from './history.ts'
import { ENGINES, type EngineName } from './schedule.ts'

/** The model of each kind of engine: every node holds both, with the same digest. */
export const MODELS: Record<EngineName, string> = { ollama: 'field:latest', llama: 'meadow:latest' }
const KINDS: Record<EngineName, 'ollama' | 'llama-server'> = { ollama: 'ollama', llama: 'llama-server' }

/** Concurrent generations of each engine. */
const SLOTS = 8

export interface SiteOptions {
  workers: number
  gateways: number
  /** The checkout whose gateway and worker run. */
  dir?: string | undefined
  appendfsync: 'everysec' | 'always'
  /** More settings of gateways and workers; they win over those set here. */
  env?: Record<string, string> | undefined
  /** Where the histories and the logs of all parts go. */
  folder: string
  tell: Tell
}

/** A part that is started again whenever it has ended, for as long as the site stands. */
export interface Standing {
  name: string
  /** Undefined while it is on its way up. */
  readonly pid: number | undefined
  /** `performance.now()` when it last came up; undefined while it is down. */
  readonly upSince: number | undefined
  signal(name: NodeJS.Signals): void
  /** Ends it, and resolves when it is up again. `SIGTERM`: as it likes to; its environment next time. */
  restart(signal: 'SIGKILL' | 'SIGTERM', env?: Record<string, string>): Promise<void>
  /** Resolves when it is up. */
  up(): Promise<void>
}

const skewed = fileURLToPath(new URL('skewed-clock.ts', import.meta.url))

/** The environment of a process whose clock is `skewMs` off, and after `stepAfterMs` as far off on the other side. */
export const skewedClock = (skewMs: number, stepAfterMs: number): Record<string, string> => ({
  NODE_OPTIONS: `--import=${skewed}`,
  CAMPAIGN_SKEW_MS: String(skewMs),
  CAMPAIGN_STEP_AFTER_MS: String(stepAfterMs),
})

interface Life {
  pid: number
  signal(name: NodeJS.Signals): void
  exited: Promise<number | string>
}

/** Keeps one part standing. */
const keep = (name: string, start: (env: Record<string, string>) => Promise<Life>, tell: Tell, closing: AbortSignal, restartMs: () => number) => {
  let life: Life | undefined
  let upSince = 0
  const stands = () => life !== undefined || closing.aborted
  let next: Record<string, string> = {}
  let rising: Promise<void> = Promise.resolve()
  const rise = async (): Promise<void> => {
    for (let failures = 0; !closing.aborted; failures += 1) {
      const env = next
      next = {}
      try {
        const started = await start(env)
        life = started
        upSince = performance.now()
        tell({ who: 'site', type: 'up', part: name, pid: started.pid })
        void started.exited.then((code) => {
          tell({ who: 'site', type: 'down', part: name, pid: started.pid, code })
          if (life === started) life = undefined
          if (closing.aborted) return
          rising = new Promise((resolve) => setTimeout(resolve, restartMs())).then(rise)
        })
        return
      } catch (error) {
        // Redis may be down just now: a supervisor tries again, and so do we.
        if (failures >= 40) throw error
        tell({ who: 'site', type: 'down', part: name, pid: 0, code: error instanceof Error ? error.message.slice(-300) : String(error) })
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
    }
  }
  const standing: Standing = {
    name,
    get pid() {
      return life?.pid
    },
    get upSince() {
      return life && upSince
    },
    signal: (signal) => life?.signal(signal),
    async restart(signal, env = {}) {
      await rising
      next = env
      const ended = life?.exited
      life?.signal('SIGCONT')
      life?.signal(signal)
      await ended
      await rising
    },
    up: async () => {
      while (!stands()) await new Promise((resolve) => setTimeout(resolve, 20))
    },
  }
  return { standing, rise, end: async () => {
    await rising.catch(() => undefined)
    return life
  } }
}

/** Engines are named after their node and a dot. */
const isPart = ({ name }: { name: string }): boolean => !name.includes('.')

export type Site = Awaited<ReturnType<typeof openSite>>

/** Redis, gateways, workers and engines as processes, and a fault proxy on every way between two of them. */
export const openSite = async ({ workers: workerCount, gateways: gatewayCount, dir, appendfsync, env: further = {}, folder, tell }: SiteOptions) => {
  mkdirSync(join(folder, 'logs'), { recursive: true })
  const closing = new AbortController()
  const redis: RedisServer = await startRedis({ tcp: true, args: ['--appendfsync', appendfsync] })
  const redisPort = Number(new URL(redis.url).port)
  const installation = new Installation(redis.url, {
    DROVER_DRAIN_LIMIT: '12s',
    DROVER_FIRST_TOKEN: '3s',
    DROVER_LOAD_TIME: '10s',
    DROVER_TOKEN_GAP: '3s',
    ...further,
  }, undefined, { ...(dir !== undefined && { dir }), onOutput: (name, text) => appendFileSync(join(folder, 'logs', `${name}.log`), text) })
  const proxies: FaultProxy[] = []
  const proxy = async (port = 0) => {
    const made = await startFaultProxy(port)
    proxies.push(made)
    return made
  }
  const kept: { standing: Standing; rise(): Promise<void>; end(): Promise<Life | undefined> }[] = []
  const stand = (name: string, start: (env: Record<string, string>) => Promise<Life>, restartMs: () => number) => {
    const one = keep(name, start, tell, closing.signal, restartMs)
    kept.push(one)
    return one
  }

  const engine = async (node: string, which: EngineName) => {
    const name = `${node}.${which}`
    const link = await proxy()
    const options: ScriptedEngineOptions = { kind: KINDS[which], models: [MODELS[which]], slots: SLOTS, history: { path: join(folder, `${name}.jsonl`), name } }
    let process_: ScriptedEngineProcess | undefined
    let loadMs = 0
    const { standing, rise } = stand(name, async () => {
      process_ = await spawnScriptedEngine({ ...options, loadMs })
      loadMs = 0
      link.target(Number(new URL(process_.url).port))
      return process_
    }, () => 200)
    await rise()
    return {
      name, link, standing,
      get admin() {
        return process_?.admin
      },
      /** Its next start takes so long. */
      loadsSlowly: (ms: number) => void (loadMs = ms),
    }
  }

  const gateway = async (i: number) => {
    const name = `g${i}`
    const [link, front] = [await proxy(redisPort), await proxy()]
    const { standing, rise } = stand(name, async (env) => {
      const part = await installation.gateway({ DROVER_REDIS_URL: `redis://127.0.0.1:${link.port}`, DROVER_ID: name, ...env })
      front.target(Number(new URL(part.url).port))
      return part
    }, () => 200)
    await rise()
    return { name, link, front, url: `http://127.0.0.1:${front.port}`, standing }
  }

  const worker = async (i: number) => {
    const name = `n${i}`
    const [link, engines] = [await proxy(redisPort), await Promise.all(ENGINES.map((which) => engine(name, which)))]
    const asked = engines.map(({ link: { port } }, e) => ({ url: `http://127.0.0.1:${port}`, kind: KINDS[ENGINES[e] ?? 'ollama'], slots: SLOTS }))
    const { standing, rise } = stand(name, (env) =>
      installation.worker(name, asked, { env: { DROVER_REDIS_URL: `redis://127.0.0.1:${link.port}`, DROVER_SUPERVISOR: `campaign-${name}`, ...env } }), () => 200)
    await rise()
    return { name, link, engines, standing }
  }

  /** Ends everything. SIGTERM: as it likes to, and answers with what did not end well. */
  const close = async (how: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<string[]> => {
    const wrong: string[] = []
    closing.abort()
    const lives = await Promise.all(kept.map(async ({ standing, end }) => ({ name: standing.name, life: await end() })))
    for (const { name, life } of lives.filter(isPart)) {
      if (!life) continue
      life.signal('SIGCONT')
      life.signal(how)
      const timer = setTimeout(() => life.signal('SIGKILL'), 20_000)
      const code = await life.exited
      clearTimeout(timer)
      if (code !== 0 && how === 'SIGTERM') wrong.push(`${name} ended with ${code} when it was told to stop`)
    }
    await installation.stop()
    for (const { life } of lives.filter((each) => !isPart(each))) {
      life?.signal('SIGKILL')
      await life?.exited
    }
    for (const each of proxies) each.close()
    await redis.stop()
    return wrong
  }

  try {
    const gateways = await Promise.all(Array.from({ length: gatewayCount }, (_, i) => gateway(i)))
    const workers = await Promise.all(Array.from({ length: workerCount }, (_, i) => worker(i)))
    for (const { url } of gateways) {
      await until('the gateway knows all nodes', async () => {
        const { nodes } = await statusOf(url)
        return nodes.length === workerCount && nodes.every(({ engines }) => engines.length === ENGINES.length && engines.every(({ models }) => models.length > 0))
      }, 30_000)
    }
    return { redis, prefix: installation.prefix, gateways, workers, urls: gateways.map(({ url }) => url), close }
  } catch (error) {
    await close()
    throw error
  }
}

