import { statSync, truncateSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { EngineAdmin } from '../engine/admin.ts'
import { appendedTo } from '../support/redis-server.ts'
import type { FaultProxy, LinkFault } from './fault-proxy.ts'
import type { Tell } from './history.ts'
import type { Load } from './load.ts'
import { ENGINES, type Appointment, type EngineName } from './schedule.ts'
import { skewedClock, type Site, type Standing } from './site.ts'

/** A part that has been up for so long has work again, ms. */
const WELL_MS = 1_000

/** Resolves after `ms`, or when the campaign is given up. */
type Sleep = (ms: number) => Promise<unknown>

/** What is wrong with each link now: faults overlap, and one that is lifted leaves the others. */
const layered = (sleep: Sleep) => {
  const layers = new Map<FaultProxy, Set<LinkFault>>()
  return async (link: FaultProxy, fault: LinkFault, ms: number): Promise<void> => {
    const set = layers.get(link) ?? new Set()
    layers.set(link, set)
    const apply = () => link.set(Object.assign({}, ...set) as LinkFault)
    set.add(fault)
    await apply()
    await sleep(ms)
    set.delete(fault)
    await apply()
  }
}

const of = <T>(list: readonly T[], i: number): T => {
  const item = list[i]
  if (!item) throw new Error(`the site has no part ${i}`)
  return item
}

/** Does what the schedule says, and tells the history when each fault began and when it was lifted; `ending`: then everything is cut short. */
export const injector = (site: Site, load: Load, tell: Tell, ending: AbortSignal) => {
  const sleep: Sleep = (ms) => setTimeout(ms, undefined, { signal: ending }).catch(() => undefined)
  const frozen = async (standing: { signal(name: NodeJS.Signals): void }, ms: number) => {
    standing.signal('SIGSTOP')
    await sleep(ms)
    standing.signal('SIGCONT')
  }
  const ruled = async (engine: { admin: EngineAdmin | undefined }, script: Record<string, number | string>, ms: number) => {
    await engine.admin?.set(script)
    await sleep(ms)
    await engine.admin?.set(undefined)
  }
  const redis = new Redis({ ...site.redis.connection, retryStrategy: () => 100, maxRetriesPerRequest: 3 })
  redis.on('error', () => undefined) // it is killed again and again
  const over = layered(sleep)
  const { workers, gateways } = site
  const engineOf = (worker: number, name: EngineName) => of(of(workers, worker).engines, ENGINES.indexOf(name))
  const partOf = ({ part, which }: { part: 'worker' | 'gateway'; which: number }) => of<(typeof workers)[number] | (typeof gateways)[number]>(part === 'worker' ? workers : gateways, which)
  let restarting: Promise<unknown> = Promise.resolve()

  /** What is done, whom it concerns, and a word on how. */
  const deedOf = (it: Appointment): { parts: string[]; wide?: boolean; detail?: string; run(): Promise<unknown> } => {
    switch (it.fault) {
      case 'F1': {
        const { name, standing } = of(workers, it.worker)
        return { parts: [name], run: () => standing.restart('SIGKILL') }
      }
      case 'F2': {
        const { name, standing } = of(workers, it.worker)
        return { parts: [name], detail: `${it.ms} ms`, run: () => frozen(standing, it.ms) }
      }
      case 'F3': {
        const { name, standing } = partOf(it)
        return { parts: [name], detail: `${it.ms} ms`, run: () => frozen(standing, it.ms) }
      }
      case 'F4': {
        const { name, standing } = of(gateways, it.gateway)
        return { parts: [name], run: () => standing.restart('SIGKILL') }
      }
      case 'F5':
        return {
          parts: [], wide: true, detail: `down for ${it.downMs} ms and its start${it.forgetsMs === undefined ? '' : `, without its last ${it.forgetsMs} ms`}`,
          // One at a time: two at once would start two on one port.
          run: () => (restarting = restarting.then(async () => {
            const { forgetsMs = 0 } = it
            const file = forgetsMs > 0 ? appendedTo(site.redis.dir) : ''
            const kept = file === '' ? 0 : statSync(file).size
            await sleep(forgetsMs)
            await site.redis.kill()
            // What is behind that point had not reached the disk.
            if (file !== '') truncateSync(file, kept)
            await sleep(it.downMs)
            await site.redis.restart()
          })),
        }
      case 'F6': {
        if (it.how === 'pause') return { parts: [], wide: true, detail: `paused ${it.ms} ms`, run: async () => {
          await redis.call('CLIENT', 'PAUSE', String(it.ms), 'ALL')
          await sleep(it.ms)
        } }
        if (it.how === 'client-kill') return { parts: [], wide: true, detail: `clients of type ${it.type} cut off`, run: () => redis.call('CLIENT', 'KILL', 'TYPE', it.type) }
        const { name, link } = partOf(it)
        if (it.how === 'slow') return { parts: [name], detail: `${it.delay} ms later for ${it.ms} ms`, run: () => over(link, { delay: it.delay }, it.ms) }
        if (it.how === 'half-open') return { parts: [name], detail: `silent for ${it.ms} ms, then reset`, run: async () => {
          await over(link, { stopped: 'down' }, it.ms)
          link.reset()
        } }
        return { parts: [name], detail: 'reset', run: async () => link.reset() }
      }
      case 'F7': {
        const { name, link } = partOf(it)
        return { parts: [name], detail: `${it.way}, ${it.ms} ms`, run: () => over(link, { stopped: it.way }, it.ms) }
      }
      case 'F8':
        return { parts: [], wide: true, detail: `${it.ms} ms`, run: async () => {
          const used = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1] ?? 1_000_000)
          await redis.config('SET', 'maxmemory', String(Math.round(used * 0.9)))
          await sleep(it.ms)
          await redis.config('SET', 'maxmemory', '0')
        } }
      case 'F10': {
        const engine = engineOf(it.worker, it.engine)
        const { name, link } = engine
        if (it.how === 'refused') return { parts: [name], detail: 'connections refused', run: async () => {
          link.reset()
          await over(link, { refused: true }, it.ms)
        } }
        const { how } = it
        return { parts: [name], detail: `status ${how}`, run: () => ruled(engine, { fail: how }, it.ms) }
      }
      case 'F11': {
        const engine = engineOf(it.worker, it.engine)
        const { name } = engine
        return { parts: [name], detail: JSON.stringify(it.script), run: () => ruled(engine, it.script, it.ms) }
      }
      case 'F12': {
        const engine = engineOf(it.worker, it.engine)
        const { name } = engine
        if (it.how === 'slow-load') return { parts: [name], detail: `loads for ${1_500 + it.ms} ms`, run: async () => {
          engine.loadsSlowly(1_500 + it.ms)
          await engine.standing.restart('SIGKILL')
          await sleep(1_500 + it.ms)
        } }
        return { parts: [name], detail: it.how, run: () => ruled(engine, it.how === 'silent' ? { silent: 1 } : { stall_at: 3 }, it.ms) }
      }
      case 'F13': {
        const { name, standing } = engineOf(it.worker, it.engine)
        return { parts: [name], run: () => standing.restart('SIGKILL') }
      }
      case 'F16': {
        const { name, standing } = partOf(it)
        return { parts: [name], detail: `${it.skewMs / 60_000} min off`, run: () => standing.restart('SIGKILL', skewedClock(it.skewMs, it.stepAfterMs)) }
      }
      case 'F17':
        return { parts: [], detail: `${it.ms} ms`, run: () => withoutLocks(it.ms) }
      case 'F18':
        return { parts: [], run: async () => load.poison(it.model, `poison${it.id}`) }
      case 'F21':
        return { parts: [], wide: true, detail: `${it.jobs} jobs`, run: async () => {
          load.crowd(it.jobs, `crowd${it.id}`)
          await sleep(3_000)
        } }
      case 'F22':
        return { parts: workers.map(({ name }) => name), wide: true, detail: `${it.jobs} clients`, run: async () => {
          load.crowd(it.jobs, `herd${it.id}`)
          await Promise.all(workers.map(({ standing }) => standing.restart('SIGKILL')))
        } }
      case 'F23':
        return { parts: [], wide: true, run: async () => {
          for (const { standing } of workers) await standing.restart('SIGTERM')
          for (const { standing } of gateways) await standing.restart('SIGTERM')
        } }
      default:
        return it satisfies never
    }
  }

  const withoutLocks = async (ms: number) => {
    const end = performance.now() + ms
    while (performance.now() < end) {
      const locks = await redis.keys(`${site.prefix}:lane:*:lock`)
      if (locks.length > 0) await redis.del(...locks)
      await sleep(40)
    }
  }

  const groups = [workers, gateways, ...ENGINES.map((_, e) => workers.map(({ engines }) => of(engines, e)))].map((parts) => parts.map(({ standing }) => standing))
  /** Parts to which something is done just now. */
  const ailing = new Set<string>()
  const isWell = ({ name, upSince }: Standing) => upSince !== undefined && performance.now() - upSince > WELL_MS && !ailing.has(name)
  /** Whether it leaves enough to go on with. What is just coming up again is left alone: on a busy machine nothing would ever work. */
  const mayAil = (parts: readonly string[]): boolean =>
    groups.every((group) => {
      const [meant, others] = [group.filter(({ name }) => parts.includes(name)), group.filter(({ name }) => !parts.includes(name))]
      if (others.length === 0) return meant.every(({ upSince }) => upSince !== undefined) // all at once, as they are
      return meant.every(isWell) && (meant.length === 0 || others.filter(isWell).length >= others.length / 2)
    })

  return {
    /** Resolves when the fault is lifted; what cannot be done before `until` (`performance.now()`) is not done. */
    async do(it: Appointment, until: number): Promise<void> {
      const { parts, wide = false, detail = '', run } = deedOf(it)
      while (!mayAil(parts)) {
        if (performance.now() > until || ending.aborted) return
        await sleep(50)
      }
      for (const part of parts) ailing.add(part)
      const line = { who: 'fault', id: it.id, fault: it.fault, parts, wide, detail } as const
      tell({ ...line, type: 'begin' })
      // Its target may be down for another reason, Redis' among them: then it has found nothing to do.
      await run().catch((error: unknown) => tell({ who: 'site', type: 'down', part: `fault ${it.id}`, pid: 0, code: String(error).slice(0, 200) }))
      for (const part of parts) ailing.delete(part)
      tell({ ...line, type: 'end' })
    },
    /** Whatever is still wrong is put right. */
    async lift(): Promise<void> {
      await redis.config('SET', 'maxmemory', '0').catch(() => undefined)
      await Promise.all([...workers, ...gateways].map(({ link }) => link.set({})))
      for (const { engines } of workers) for (const { link, admin } of engines) {
        await link.set({})
        await admin?.reset().catch(() => undefined)
      }
      for (const { standing } of [...workers, ...gateways]) standing.signal('SIGCONT')
    },
    close: () => redis.disconnect(),
  }
}
