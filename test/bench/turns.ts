import type { Drover } from './drover.ts'
import type { Load, TurnResult } from './load.ts'
import { counted, type RedisCounters } from './redis-meter.ts'
import type { Stage } from './stage.ts'
import { cpuMs } from './usage.ts'

/** One way of getting an answer. */
export interface Target {
  name: string
  /** Processes that this way uses beside client, engine and Redis. */
  pids: Record<string, number>
  turn(load: Load, onWindow: (edge: 'begin' | 'end') => void): Promise<TurnResult>
  /** Resolves when nothing of a turn is left over. */
  quiet(): Promise<void>
}

export interface Turn extends TurnResult {
  /** Percent of a core in the window, by process. */
  cpu: Record<string, number>
  /** Over the whole turn. */
  redis: RedisCounters
}

export type Rounds = Record<string, Turn[]>

export const directTarget = ({ client, engine, aim }: Stage): Target => ({
  name: 'direct',
  pids: {},
  turn: (load, onWindow) => client.turn(load, aim(engine.url), onWindow),
  quiet: async () => undefined,
})

export const proxyTarget = ({ client, proxy, proxyUrl, aim }: Stage): Target => ({
  name: 'proxy',
  pids: { proxy: proxy.pid },
  turn: (load, onWindow) => client.turn(load, aim(proxyUrl), onWindow),
  quiet: async () => undefined,
})

export const droverTarget = ({ client, aim }: Stage, drover: Drover, name = 'drover'): Target => ({
  name,
  pids: { gateway: drover.gateway.pid, worker: drover.worker.pid },
  turn: (load, onWindow) => client.turn(load, aim(drover.url), onWindow),
  quiet: drover.quiet,
})

const ready = (message: unknown) => (message as { ready?: true }).ready
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const NONE = { count: 0, p50: 0, p99: 0, max: 0 }

/** BullMQ's own producer and worker in two processes, nothing in between and nothing in the jobs. */
export const bullmqTarget = async ({ redis, part }: Stage): Promise<Target> => {
  const { connection } = redis
  const path = 'path' in connection ? connection.path : String(connection.port)
  const add = part('bullmq add', 'floors.ts', ['add', path, 'floor'])
  await add.word(ready)
  const work = part('bullmq work', 'floors.ts', ['work', path, 'floor'])
  await work.word(ready)
  let done = 0
  let told = 0
  work.child.on('message', (message: { done?: number }) => {
    if (message.done === undefined || message.done === told) return
    done = told = message.done
    add.child.send({ done })
  })
  return {
    name: 'bullmq',
    pids: { add: add.pid, work: work.pid },
    async turn({ rampMs, windowMs }, onWindow) {
      const first = done
      add.child.send({ open: true })
      await pause(rampMs)
      const before = done
      const from = performance.now()
      onWindow('begin')
      await pause(windowMs)
      const answers = done - before
      const lasted = performance.now() - from
      onWindow('end')
      add.child.send({ open: false })
      await pause(200)
      const nothing = { tokens: 0, allTokens: 0, wrong: 0, faults: [] }
      return { ...nothing, firstToken: NONE, delay: NONE, answers, allAnswers: done - first, windowMs: lasted }
    },
    quiet: async () => undefined,
  }
}

export const takeTurn = async ({ client, engine, redis, meter }: Stage, target: Target, load: Load): Promise<Turn> => {
  const pids: Record<string, number> = { client: client.part.pid, engine: engine.pid, redis: redis.pid, ...target.pids }
  const times = () => Object.entries(pids).map(([name, pid]): [string, number] => [name, cpuMs(pid)])
  let begin = times()
  let end = begin
  let from = 0
  let lasted = 1
  const before = await meter.read()
  const result = await target.turn(load, (edge) => {
    if (edge === 'begin') [begin, from] = [times(), performance.now()]
    else [end, lasted] = [times(), performance.now() - from]
  })
  await target.quiet()
  const after = await meter.read()
  const cpu = Object.fromEntries(end.map(([name, ms], i) => [name, (100 * (ms - (begin[i]?.[1] ?? ms))) / lasted]))
  return { ...result, cpu, redis: counted(before, after) }
}

/** Turns of all targets in rounds: each round has one of each, in an order that shifts, so that noise that lasts meets them alike. */
export const takeRounds = async (
  stage: Stage,
  targets: readonly Target[],
  load: Load,
  { rounds, warmMs, onTurn }: { rounds: number; warmMs: number; onTurn(target: Target, turn: Turn, round: number): void },
): Promise<Rounds> => {
  const all: Rounds = Object.fromEntries(targets.map(({ name }) => [name, []]))
  for (const target of targets) await takeTurn(stage, target, { ...load, windowMs: warmMs })
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < targets.length; i += 1) {
      const target = targets[(i + round) % targets.length]!
      const turn = await takeTurn(stage, target, load)
      all[target.name]?.push(turn)
      onTurn(target, turn, round)
    }
  }
  await stage.client.drop()
  return all
}
