import { DesiredMemory, DesiredReport, DesiredState, NO_MEMORY, type WrittenState } from '@drover/core'
import type { Redis } from 'ioredis'
import { soon } from './in-time.ts'
import type { Keys } from './keys.ts'
import type { Scripts } from './scripts.ts'

/** A gateway that says nothing for so long has lost its turn, ms. */
const TURN_MS = 5_000

/** A desired state as it lies in Redis. */
export interface KeptState {
  version: number
  state: DesiredState
  /** Epoch ms by Redis' clock. */
  at: number
  memory: DesiredMemory
  /** Of the gateway whose turn it is. */
  report?: DesiredReport
}

/** What whoever has the turn goes by. */
export interface DesiredTurn {
  version: number
  state: DesiredState
  /** As it lay there when the turn was taken; absent: it was held, and whoever has it knows. */
  memory?: DesiredMemory
}

/** Which models are to be where, and whose turn it is to bring nodes to it. */
export class DesiredModelStore {
  #options: { redis: Redis; keys: Keys; scripts: Scripts }
  /** The state that was read last: it changes seldom, and is looked at every two seconds. */
  #known: { mark: string; state: DesiredState } | undefined

  constructor(options: { redis: Redis; keys: Keys; scripts: Scripts }) {
    this.#options = options
  }

  /** @param digest of a configuration that says so: one that was the last of its kind is not said again @throws BrokerError `queue_full`, `broker_unavailable` */
  async put(written: WrittenState, digest = ''): Promise<{ version: number; changed: boolean }> {
    const { keys, scripts } = this.#options
    const [version, changed] = (await soon(scripts.desired_put([keys.desiredModels], [JSON.stringify(written), digest]))) as [number, 0 | 1]
    return { version, changed: changed === 1 }
  }

  /** `undefined`: nothing was ever described. @throws BrokerError `broker_unavailable` */
  async read(): Promise<KeptState | undefined> {
    const { redis, keys } = this.#options
    const [[version, doc, at, memory, report], whose] = await soon(Promise.all([redis.hmget(keys.desiredModels, 'v', 'doc', 'at', 'mem', 'rep'), redis.get(keys.desiredTurn)]))
    if (typeof doc !== 'string') return undefined
    const told = typeof report === 'string' ? DesiredReport.safeParse(JSON.parse(report)).data : undefined
    return { version: Number(version), state: stateIn(doc), at: Number(at), memory: memoryIn(memory ?? ''), ...(told && told.gateway === whose && { report: told }) }
  }

  /**
   * Takes the turn, or keeps the one that is `held`, and tells what was done in it. `undefined`: it is another's, or was meanwhile, or nothing
   * is described. @throws BrokerError `broker_unavailable`
   */
  async turn(who: string, { held, memory, report }: { held: boolean; memory?: DesiredMemory; report?: DesiredReport }): Promise<DesiredTurn | undefined> {
    const { keys, scripts } = this.#options
    const told = [memory, report].map((each) => (each ? JSON.stringify(each) : ''))
    const answer = (await soon(scripts.desired_turn([keys.desiredTurn, keys.desiredModels], [who, TURN_MS, held ? 1 : 0, ...told, this.#known?.mark ?? '']))) as [] | [0] | [1, number, string, string, string]
    if (answer[0] !== 1) return undefined
    const [, version, at, text, kept] = answer
    if (text !== '') this.#known = { mark: `${version} ${at}`, state: stateIn(text) }
    return { version, state: this.#known!.state, ...(!held && { memory: memoryIn(kept) }) }
  }

  /** Another may have it at once. */
  async giveBack(who: string): Promise<void> {
    const { keys, scripts } = this.#options
    await scripts.desired_turn([keys.desiredTurn, keys.desiredModels], [who, 0, 0, '', '', ''])
  }
}

/** @throws ZodError for what a later version has written and this one cannot read: that is no reason to undo anything */
const stateIn = (text: string): DesiredState => DesiredState.parse(JSON.parse(text))

const memoryIn = (text: string): DesiredMemory => (text === '' ? NO_MEMORY : (DesiredMemory.safeParse(JSON.parse(text)).data ?? NO_MEMORY))
