import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '@drover/core'
import type { ModelName } from '@drover/core'
import { orAborted } from '../or-aborted.ts'
import type { ModelFile } from './model-files.ts'
import type { Room } from './room.ts'
import type { RunningServer } from './server-process.ts'

export interface ResidencyOptions {
  room: Room
  /** @throws BrokerError, the process gone */
  start(file: ModelFile, signal: AbortSignal): Promise<RunningServer>
  /** How long a model stays without use, ms; `Infinity`: for ever. */
  keepAliveMs: number
  /** How long a model in memory may take new calls, from its start or the other's arrival, while another waits for its memory, ms. */
  turnMs: number
  onEvent(event: ResidencyEvent): void
}

export type ResidencyEvent =
  | { kind: 'started'; model: ModelName; pid: number; ms: number }
  /** `idle`: not used for long enough; `evicted`: another model needs the memory; `changed`: its file is gone or another one; `unloaded`: as somebody wanted. */
  | { kind: 'stopped'; model: ModelName; why: 'idle' | 'evicted' | 'changed' | 'unloaded' }
  | { kind: 'failed'; model: ModelName; error: BrokerError }

export interface Resident {
  file: ModelFile
  /** Epoch ms at which it goes if nobody uses it; absent: it stays. */
  expiresAt?: number
}

/** One call's wish to use a model. */
interface Wish {
  file: ModelFile
  since: number
  enter(server: RunningServer): void
  refuse(error: unknown): void
  seat?: Seat
}

interface Seat {
  file: ModelFile
  wishes: Set<Wish>
  server?: RunningServer
  readyAt?: number
  usedAt: number
  /** Since when somebody else wants its memory. */
  wantedAt?: number | undefined
  /** Why it is being ended; its memory counts until the process is gone. */
  leaving?: 'idle' | 'evicted' | 'changed' | 'unloaded' | 'closed'
  /** How many wait for it to be let go: it takes no new calls then, and is ended when it is idle. */
  releases: number
  ending: AbortController
  timer?: NodeJS.Timeout
  /** Resolves when no process of it is left. */
  gone?: Promise<void>
}

const ENDING = () => new BrokerError('engine_failed', 'this worker is ending')
/** Between two jobs a model is idle for a moment, which is no reason to end it while its turn lasts. */
const SETTLE_MS = 200
const BACKOFF_MS = { first: 500, most: 2_000 }

const filesOf = (seats: Iterable<Seat>): ModelFile[] => [...seats].map(({ file }) => file)

/**
 * Who is in memory. Calls for a model in memory enter at once; a model that is not is started when it fits beside the others, for which
 * idle ones are ended, least recently used first. Where all are at work the call waits, first come first served, and when it has waited
 * for a turn those at work take no new calls until it has had its own: so each model gets its turn, and none is started and ended
 * for every call.
 */
export const residency = ({ room, start, keepAliveMs, turnMs, onEvent }: ResidencyOptions) => {
  const seats = new Map<ModelName, Seat>()
  const queue: Wish[] = []
  const failures = new Map<ModelName, { count: number; at: number }>()
  /** How long models stay that have a time of their own, ms. */
  const kept = new Map<ModelName, number>()
  let settling: NodeJS.Timeout | undefined
  let closed = false

  const keepOf = ({ model }: ModelFile): number => kept.get(model) ?? keepAliveMs
  /** Those that are to stay go last. */
  const byUse = (a: Seat, b: Seat): number => Number(kept.get(a.file.model) === Infinity) - Number(kept.get(b.file.model) === Infinity) || a.usedAt - b.usedAt

  const usable = (model: ModelName): Seat | undefined => {
    const seat = seats.get(model)
    return seat?.leaving === undefined && !seat?.releases ? seat : undefined
  }
  /** Until when a model in memory takes new calls: its turn lasts for a while although somebody waits for its memory. */
  const turnEnd = (seat: Seat, waiting?: Wish): number => {
    const since = Math.min(waiting?.since ?? Infinity, seat.wantedAt ?? Infinity)
    return since === Infinity ? Infinity : Math.max(since, seat.readyAt ?? Infinity) + turnMs
  }

  const attach = (wish: Wish, seat: Seat): void => {
    queue.splice(queue.indexOf(wish), 1)
    wish.seat = seat
    seat.wishes.add(wish)
    clearTimeout(seat.timer)
    if (seat.server) wish.enter(seat.server)
  }

  const end = (seat: Seat, why: NonNullable<Seat['leaving']>): void => {
    if (seat.leaving !== undefined) return
    seat.leaving = why
    clearTimeout(seat.timer)
    seat.ending.abort(new BrokerError('engine_failed', `${seat.file.model} was taken out of memory`))
    void seat.server?.stop()
  }

  const rest = (seat: Seat): void => {
    if (seat.wishes.size > 0 || seat.leaving !== undefined || !seat.server) return
    clearTimeout(seat.timer)
    if (seat.releases > 0) return end(seat, 'unloaded')
    const keep = keepOf(seat.file)
    if (keep === 0) end(seat, 'idle')
    else if (keep !== Infinity) seat.timer = setTimeout(end, keep, seat, 'idle')
  }

  const run = async (seat: Seat): Promise<void> => {
    const { file: { model }, ending } = seat
    const before = failures.get(model) ?? { count: 0, at: 0 }
    const begun = performance.now()
    try {
      // After the first failure it is tried at once: most engines that die were killed for reasons that are over.
      const pause = before.count > 1 ? Math.min(BACKOFF_MS.first * 2 ** (before.count - 2), BACKOFF_MS.most) : 0
      if (before.at + pause > begun) await sleep(before.at + pause - begun, undefined, { signal: ending.signal })
      const server = await start(seat.file, ending.signal)
      seat.server = server
      seat.readyAt = performance.now()
      onEvent({ kind: 'started', model, pid: server.pid, ms: Math.round(seat.readyAt - begun) })
      // Ended in the very moment in which it became ready.
      if (seat.leaving !== undefined) void server.stop()
      for (const wish of seat.wishes) wish.enter(server)
      rest(seat)
      const error = await server.exited
      if (seat.leaving === undefined) throw error
    } catch (error) {
      if (seat.leaving === undefined) {
        failures.set(model, { count: before.count + 1, at: performance.now() })
        const reason = error instanceof BrokerError ? error : new BrokerError('engine_failed', `${model} cannot be loaded`, { cause: error })
        onEvent({ kind: 'failed', model, error: reason })
        if (!seat.server) for (const wish of seat.wishes) drop(wish, reason)
      }
    } finally {
      clearTimeout(seat.timer)
      await seat.server?.engine.close()
      seats.delete(model)
      room.holds(filesOf(seats.values()))
      const why = seat.leaving
      if (why !== undefined && why !== 'closed') onEvent({ kind: 'stopped', model, why })
      pump()
    }
  }

  const drop = (wish: Wish, error: unknown): void => {
    wish.seat?.wishes.delete(wish)
    wish.refuse(error)
  }

  /** True when there is room now. Else room is made, if ending idle models can make it. */
  const makeRoom = (wish: Wish): boolean => {
    const { file } = wish
    if (room.fits(file, filesOf(seats.values()))) return true
    if (!room.fits(file, [])) room.short(file)
    let left = [...seats.values()].filter(({ leaving }) => leaving === undefined)
    const idle = left.filter(({ wishes }) => wishes.size === 0).toSorted(byUse)
    if (!room.fits(file, filesOf(left.filter((seat) => !idle.includes(seat))))) return false
    const leaving: Seat[] = []
    for (const seat of idle) {
      if (room.fits(file, filesOf(left))) break
      left = left.filter((each) => each !== seat)
      leaving.push(seat)
    }
    const rested = Math.max(0, ...leaving.map((seat) => Math.min(seat.usedAt + SETTLE_MS, turnEnd(seat, wish))))
    const early = rested - performance.now()
    if (early > 0) {
      clearTimeout(settling)
      settling = setTimeout(pump, early)
    } else for (const seat of leaving) end(seat, 'evicted')
    return false
  }

  const pump = (): void => {
    if (closed) return
    let waiting: Wish | undefined
    for (const wish of queue.slice()) {
      const { model } = wish.file
      const seat = usable(model)
      if (seat) {
        if (performance.now() < turnEnd(seat, waiting)) attach(wish, seat)
        continue
      }
      // Nobody overtakes who waits for memory: what is smaller would else come before it for ever.
      if (waiting) continue
      const refusal = room.refusal(wish.file)
      if (refusal) {
        queue.splice(queue.indexOf(wish), 1)
        wish.refuse(refusal)
      } else if (!seats.has(model) && makeRoom(wish)) {
        const fresh: Seat = { file: wish.file, wishes: new Set(), usedAt: performance.now(), releases: 0, ending: new AbortController() }
        seats.set(model, fresh)
        room.holds(filesOf(seats.values()))
        attach(wish, fresh)
        fresh.gone = run(fresh)
      } else waiting = wish
    }
  }

  return {
    /**
     * Asks to use a model: `enter` is called when it is in memory, or `refuse` with a BrokerError, never before this returns.
     * @returns to be called once the use is over, or not wanted any more
     */
    ask(file: ModelFile, enter: (server: RunningServer) => void, refuse: (error: unknown) => void): () => void {
      const wish: Wish = { file, since: performance.now(), enter, refuse }
      if (closed) queueMicrotask(() => refuse(ENDING()))
      else queue.push(wish)
      queueMicrotask(pump)
      return () => {
        const at = queue.indexOf(wish)
        if (at >= 0) queue.splice(at, 1)
        const { seat } = wish
        if (seat?.wishes.delete(wish)) {
          seat.usedAt = performance.now()
          rest(seat)
        }
        queueMicrotask(pump)
      }
    },
    /**
     * Whether a call would be of use now: its model is in memory and may take it, or its turn has come and only the processes of others
     * are still ending, or it would be the first to wait for its start.
     */
    admits(model: ModelName): boolean {
      const seat = usable(model)
      const waiting = queue.find((wish) => !usable(wish.file.model))
      if (seat) return performance.now() < turnEnd(seat, waiting)
      if (waiting?.file.model !== model) return !queue.some((wish) => wish.file.model === model)
      return room.fits(waiting.file, filesOf([...seats.values()].filter(({ leaving }) => leaving === undefined)))
    },
    /**
     * Somebody else wants the memory of a model, or no longer. While that is so it is ended as soon as it is idle, and takes no new calls
     * once it has had its turn. To be said again and again.
     */
    wanted(model: ModelName, is: boolean): void {
      const seat = usable(model)
      if (!seat) return
      const now = performance.now()
      seat.wantedAt = is ? (seat.wantedAt ?? now) : undefined
      if (is && seat.server && seat.wishes.size === 0 && now > seat.usedAt + SETTLE_MS) end(seat, 'evicted')
    },
    /** How long a model stays without use from now on, ms; `undefined`: as long as any. Says what it was before. */
    keep(model: ModelName, ms: number | undefined): number | undefined {
      const before = kept.get(model)
      if (ms === undefined) kept.delete(model)
      else kept.set(model, ms)
      const seat = usable(model)
      if (seat) rest(seat)
      return before
    },
    /**
     * Takes a model out of memory when what uses it has ended; new calls wait for its next start. Resolves when it is out.
     * @throws the signal's reason; then one that was not idle yet stays
     */
    async release(model: ModelName, signal: AbortSignal): Promise<void> {
      signal.throwIfAborted()
      const seat = seats.get(model)
      if (!seat?.gone) return
      seat.releases += 1
      rest(seat)
      try {
        await orAborted(seat.gone, signal)
      } finally {
        seat.releases -= 1
        queueMicrotask(pump)
      }
    },
    /** An answer came from the model: the failures before it are forgotten. */
    worked: (model: ModelName) => void failures.delete(model),
    /** Models in memory, ready. */
    residents(): Resident[] {
      return [...seats.values()].flatMap(({ file, server, leaving, wishes, usedAt }) => {
        if (!server || leaving !== undefined) return []
        const left = usedAt + keepOf(file) - performance.now()
        const stays = left === Infinity || wishes.size > 0
        return { file, ...(stays ? {} : { expiresAt: Date.now() + left }) }
      })
    },
    /** Ends idle models whose file is no longer what it was, and looks whether others have given memory back. To be called now and then. */
    refresh(files: readonly ModelFile[]): void {
      const stamps = new Map(files.map(({ model, stamp }) => [model, stamp]))
      for (const seat of seats.values()) if (seat.wishes.size === 0 && stamps.get(seat.file.model) !== seat.file.stamp) end(seat, 'changed')
      queueMicrotask(pump)
    },
    /** Refuses who waits and ends every process; resolves when all are gone. */
    async close(): Promise<void> {
      closed = true
      clearTimeout(settling)
      const error = ENDING()
      for (const wish of queue.splice(0)) wish.refuse(error)
      const all = [...seats.values()]
      for (const seat of all) {
        end(seat, 'closed')
        if (!seat.server) for (const wish of seat.wishes) drop(wish, error)
      }
      await Promise.all(all.map(({ gone }) => gone))
    },
  }
}
