import { Redis } from 'ioredis'
import type { DialectName } from '../campaign/formats.ts'
import { resumed as resumedBy } from '../resume/deaths.ts'
import type { Read } from '../resume/reading.ts'
import { statusOf, until, type Gateway } from '../support/drover.ts'
import type { Machine } from './machines.ts'
import { besides, llamaOn, type LlamaProcess } from './processes.ts'
import { openStage, type ShownCluster, type Stage } from './stage.ts'

/** What dies in the middle of an answer. */
export const DEATHS = [
  'rpc-server-killed', 'rpc-server-frozen', 'lender-worker-killed', 'lender-worker-frozen', 'lender-dies', 'lender-cut', 'llama-server-killed', 'llama-server-frozen', 'coordinator-worker-killed', 'coordinator-dies', 'coordinator-cut',
  'no-room', 'no-room-for-long',
] as const
export type Death = (typeof DEATHS)[number]

/** What is left cannot hold the model. */
export const leavesNoRoom = (death: Death): boolean => death.startsWith('no-room')

/** These need a network for each machine. */
export const needsCables = (death: Death): boolean => death.endsWith('-cut')

/** How long a request may take where the model has no room any more, ms. */
const HASTY_MS = 12_000
/** And how long one with time waits for room, until it is told what is missing: 4 s for silence to be noticed, 30 s of hope, and as much again as all that may take, ms. */
const HOPE_MS = 45_000
/** Longest that a request may take else, ms: nothing waits for ever. */
const PATIENT_MS = 120_000
const PROMPTS = ['Tell of number 1.', 'Tell of number 2.', 'Tell of number 3.']
export const ASKED: readonly DialectName[] = ['ollama.chat', 'openai.chat', 'anthropic.messages', 'ollama.generate']

/** One death, and what can be said of it afterwards. */
export interface Story {
  death: Death
  dialect: DialectName
  read: Read
  undisturbed: string
  /** Characters that had been read when it died. */
  readBefore: number
  /** How often the gateway counts that it went on from another attempt. */
  resumed: number
  /** From the death to the end of the answer, ms. */
  tookMs: number
  /** What is there afterwards and should not be. */
  left: string[]
}

/** A gateway and four machines, of which the model takes three; two have its file. What dies is replaced. */
export class ClusterSite {
  readonly stage: Stage
  #hasty: Gateway
  #ledgers: Redis
  #tokens: number
  #texts: string[]

  private constructor(stage: Stage, hasty: Gateway, tokens: number, texts: string[]) {
    this.stage = stage
    this.#hasty = hasty
    this.#tokens = tokens
    this.#texts = texts
    this.#ledgers = new Redis({ ...stage.machines.redis.connection, retryStrategy: () => 100 })
    this.#ledgers.on('error', () => undefined)
  }

  /** `tokens`: how long its answers are, so that there is time to die in the middle. */
  static async open(tokens: number): Promise<ClusterSite> {
    const stage = await openStage({ machines: [{ name: 'a', holds: true }, { name: 'b', holds: true }, { name: 'c' }, { name: 'd' }], needed: 3, exact: true, gatewayEnv: { DROVER_TIMEOUT: `${PATIENT_MS}ms` } })
    try {
      const hasty = await stage.machines.drover.gateway({ DROVER_TIMEOUT: `${HASTY_MS}ms` })
      const texts = await stage.undisturbed(PROMPTS, tokens)
      return new ClusterSite(stage, hasty, tokens, texts)
    } catch (error) {
      await stage.close()
      throw error
    }
  }

  get apart(): boolean {
    return this.stage.machines.network.apart
  }

  async close(): Promise<void> {
    this.#ledgers.disconnect()
    await this.stage.close()
  }

  /** Does one death to the cluster while it answers, and waits for what comes of it. */
  async tell(death: Death, place: number): Promise<Story> {
    const dialect = ASKED[place % ASKED.length]!
    const prompt = PROMPTS[place % PROMPTS.length]!
    const undisturbed = this.#texts[place % PROMPTS.length]!
    const url = death === 'no-room' ? this.#hasty.url : this.stage.gateway.url
    await this.#warm()
    const before = await resumed(url)
    const asked = this.stage.ask(dialect, prompt, this.#tokens, url)
    let readBefore = 40 + ((place * 137) % Math.floor(undisturbed.length / 3))
    await asked.chars(readBefore)
    const cluster = await this.stage.ready()
    const heal = await this.#kill(death, cluster, place)
    const died = performance.now()
    readBefore = asked.soFar()
    const read = await asked.told
    const tookMs = performance.now() - died
    const again = (await resumed(url)) - before
    await heal()
    const left = await this.#settled()
    return { death, dialect, read, undisturbed, readBefore, resumed: again, tookMs, left }
  }

  /** There is a cluster that answers, so that what is measured is the loss of one. */
  async #warm(): Promise<void> {
    const { ended, error } = await this.stage.ask('ollama.chat', 'Hello.', 1, this.stage.gateway.url).told
    if (!ended) throw new Error(`nothing answers before anything has died: ${error ?? 'the answer was cut'}`)
  }

  /** Resolves when it is dead, with what brings it back. */
  async #kill(death: Death, { coordinator, members }: ShownCluster, place: number): Promise<() => Promise<void>> {
    const first = this.stage.machines.named(coordinator)
    const lenders = members.filter(({ node }) => node !== coordinator).map(({ node }) => this.stage.machines.named(node))
    const lender = lenders[place % lenders.length]!
    switch (death) {
      case 'rpc-server-killed':
      case 'rpc-server-frozen':
        process.kill(processOn(lender, 'rpc-server').pid, death === 'rpc-server-killed' ? 'SIGKILL' : 'SIGSTOP')
        return nothingToHeal
      case 'llama-server-killed':
      case 'llama-server-frozen':
        process.kill(processOn(first, 'llama-server').pid, death === 'llama-server-killed' ? 'SIGKILL' : 'SIGSTOP')
        return nothingToHeal
      case 'lender-worker-killed': return killed(lender)
      case 'coordinator-worker-killed': return killed(first)
      case 'lender-worker-frozen':
        lender.worker().signal('SIGSTOP')
        return async () => lender.worker().signal('SIGCONT')
      case 'lender-dies': return dead(lender)
      case 'coordinator-dies': return dead(first)
      case 'lender-cut': return cut(lender)
      case 'coordinator-cut': return cut(first)
      case 'no-room':
      case 'no-room-for-long': {
        const others = this.stage.machines.all.filter((each) => each !== first && each !== lender)
        const heals = await Promise.all([lender, others[place % others.length]!].map(dead))
        return async () => {
          for (const heal of heals) await heal()
        }
      }
      default: return death satisfies never
    }
  }

  /** Waits until everything is as it should be; what is not, where that takes too long. */
  async #settled(): Promise<string[]> {
    let left: string[] = []
    await until('nothing is left', async () => {
      left = await this.#left().catch((error: unknown) => [String(error)])
      return left.length === 0
    }, 30_000).catch(() => undefined)
    return left
  }

  /** All that is there besides the machines' workers and what the clusters that are told of need. */
  async #left(): Promise<string[]> {
    const { machines, gateway } = this.stage
    const [{ nodes, lanes }, clusters] = [await statusOf(gateway.url), await this.stage.clusters()]
    const left = machines.all.filter(({ name }) => !nodes.some(({ id }) => id === name)).map(({ name }) => `${name} is missing`)
    for (const { model, waiting, running } of lanes) if (waiting + running > 0) left.push(`${waiting} wait and ${running} run for ${model}`)
    for (const { id, engines } of nodes) if (engines.some(({ models }) => models.some(({ busy }) => busy > 0))) left.push(`${id} is busy`)
    for (const { coordinator, state } of clusters) if (state !== 'ready') left.push(`the cluster of ${coordinator} is ${state}`)
    for (const machine of machines.all) {
      const { host, name } = machine
      const llama = llamaOn(host)
      const [servers, lent] = [llama.filter(({ program }) => program === 'llama-server'), llama.filter(({ program }) => program === 'rpc-server')]
      const coordinated = clusters.filter(({ coordinator }) => coordinator === name)
      const borrowed = clusters.flatMap(({ coordinator, members }) => members.filter(({ node }) => node === name && node !== coordinator))
      if (servers.length !== coordinated.length) left.push(`${name} runs ${servers.length} llama-servers for ${coordinated.length} clusters`)
      if (lent.length !== borrowed.length) left.push(`${name} runs ${lent.length} rpc-servers for ${borrowed.length} parts`)
      // Each has a shell that watches over it.
      const more = besides(host, [machine.worker().pid, ...llama.map(({ pid }) => pid)])
      if (more.length > llama.length) left.push(`${name} runs ${more.join('; ')}`)
      const loans = await this.#loansOf(name)
      const wanted = borrowed.length + coordinated.length
      if (loans !== wanted) left.push(`${loans} loans of ${name} live, of ${wanted}`)
    }
    return left
  }

  /** Loans in a lender's ledger that live. */
  async #loansOf(lender: string): Promise<number> {
    const ledger = await this.#ledgers.hvals(`${this.stage.machines.drover.prefix}:loans:${lender}`)
    return ledger.filter((text) => ['asked', 'ready'].includes((JSON.parse(text) as { state: string }).state)).length
  }

  /** What the workers have logged of clusters and loans since a time, epoch ms: to find out what went wrong. */
  logged(since: number): string[] {
    const lines = this.stage.machines.all.flatMap(({ name, logged }) => logged().map((entry) => ({ name, at: Number(new Date(entry['time'] as string | number)), entry })))
    return lines.filter(({ at }) => at >= since).toSorted((a, b) => a.at - b.at).map(({ name, at, entry: { msg, time: _time, level: _level, ...facts } }) => `${((at - since) / 1000).toFixed(2)} ${name} ${String(msg)} ${JSON.stringify(facts)}`)
  }
}

const resumed = async (url: string): Promise<number> => (await resumedBy(url, 'continue')) + (await resumedBy(url, 'replay'))

const processOn = ({ host, name }: Machine, program: LlamaProcess['program']): LlamaProcess => {
  const found = llamaOn(host).find((each) => each.program === program)
  if (!found) throw new Error(`no ${program} runs on ${name}`)
  return found
}

const nothingToHeal = async (): Promise<void> => undefined

const killed = async (machine: Machine): Promise<() => Promise<void>> => {
  machine.worker().signal('SIGKILL')
  return async () => {
    await machine.worker().exited
    await machine.work()
  }
}

const dead = async (machine: Machine): Promise<() => Promise<void>> => {
  machine.host.die()
  return async () => {
    await machine.worker().exited
    machine.host.mend()
    await machine.work()
  }
}

const cut = async ({ host }: Machine): Promise<() => Promise<void>> => {
  host.cut()
  return async () => host.mend()
}

const difference = (text: string, wanted: string): string => {
  let at = 0
  while (text[at] !== undefined && text[at] === wanted[at]) at += 1
  const near = (each: string) => JSON.stringify(each.slice(Math.max(0, at - 24), at + 24))
  return `from character ${at} of ${wanted.length} on another text than undisturbed: ${near(text)} instead of ${near(wanted)}`
}

/** What is wrong with a story; '' for nothing. */
export const fault = ({ death, read, undisturbed, readBefore, resumed: again, tookMs, left }: Story): string => {
  const wrong = [...left]
  const { text, ended, error } = read
  if (readBefore === 0 || readBefore > 0.9 * undisturbed.length) wrong.push(`it died after ${readBefore} of ${undisturbed.length} characters`)
  if (leavesNoRoom(death)) {
    if (ended || error === undefined) wrong.push('no honest error')
    if (death === 'no-room-for-long' && !/needs [\d.]+ GB .*; .* GB free/.test(error ?? '')) wrong.push(`not what is missing, but ${error}`)
    if (!undisturbed.startsWith(text)) wrong.push(difference(text, undisturbed))
    if (tookMs > (death === 'no-room' ? HASTY_MS + 2_000 : HOPE_MS)) wrong.push(`an error after ${Math.round(tookMs)} ms`)
    return wrong.join('; ')
  }
  if (error !== undefined || !ended) wrong.push(`ended with ${error ?? 'nothing'}`)
  // What was lent goes on without the worker that has lent it, until its silence is noticed.
  if (again === 0 && death !== 'lender-worker-frozen') wrong.push('it went on as if nothing had died')
  if (text !== undisturbed) wrong.push(difference(text, undisturbed))
  if (tookMs > PATIENT_MS) wrong.push(`an end after ${Math.round(tookMs)} ms`)
  return wrong.join('; ')
}
