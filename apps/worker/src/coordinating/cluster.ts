import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Loan, Renewed, WorkerConnection } from '@drover/broker'
import { BrokerError, bytesOf, isOwnProcessor, type ClusterMember, type ClusterPlan, type ModelName, type RunSizes } from '@drover/core'
import { rpcHello, startClusterServer, type ClusterServer, type ModelFile, type RunningServer } from '@drover/engines'

/** An rpc-server that waits for us says hello within this time, ms. */
const HELLO_MS = 2_000

export interface FormOptions {
  node: string
  loans: WorkerConnection['loans']
  /** Host of a lender's rpc-servers. */
  hostOf(node: string): string | undefined
  server: { program: string | undefined; startMs: number; env: Readonly<Record<string, string>> }
  /** Somebody else is short of its memory, or no longer. */
  onWanted(cluster: Cluster, is: boolean): void
  onGivenBack(loans: readonly Loan[]): void
}

interface Lent {
  loan: Loan
  /** Absent: memory of the coordinator's own process besides its layers. */
  member: ClusterMember | undefined
  port: number | undefined
}

/** A model over several nodes, from the first loan until the last is given back. */
export class Cluster {
  readonly id = randomBytes(6).toString('base64url')
  readonly file: ModelFile
  readonly plan: ClusterPlan
  readonly since = Date.now()
  state: 'forming' | 'ready' | 'ending' = 'forming'
  #options: FormOptions
  #lent: Lent[] = []
  /** All of them were. */
  #granted = false
  #server: ClusterServer | undefined
  #lost = Promise.withResolvers<never>()
  #allReady = Promise.withResolvers<void>()

  constructor(file: ModelFile, plan: ClusterPlan, options: FormOptions) {
    this.file = file
    this.plan = plan
    this.#options = options
    this.#lost.promise.catch(() => undefined)
  }

  get model(): ModelName {
    return this.file.model
  }

  /** Memory that it has borrowed or is about to. */
  get loans(): readonly Loan[] {
    return this.#lent.map(({ loan }) => loan)
  }

  /**
   * Borrows the memory of the plan and starts its `llama-server`. Whoever calls this renews the loans meanwhile (`renewed`).
   * @throws BrokerError `engine_failed` with the cause, nothing of it left behind; the signal's reason when that ends it
   */
  async form(run: Pick<RunSizes, 'kvType' | 'flashAttention'>, signal: AbortSignal): Promise<RunningServer> {
    try {
      await this.#borrow()
      const stopped = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }))
      stopped.catch(() => undefined)
      signal.throwIfAborted()
      await Promise.race([this.#allReady.promise, this.#lost.promise, stopped, sleep(this.#options.server.startMs, undefined, { ref: false }).then(() => this.#late())])
      await Promise.race([this.#greet(), this.#lost.promise, stopped])
      const giveUp = new AbortController()
      this.#lost.promise.catch((error: unknown) => giveUp.abort(error))
      const server = await startClusterServer(this.file, { plan: this.plan, addressOf: (member) => this.#addressOf(member), run }, this.#options.server, AbortSignal.any([signal, giveUp.signal]))
      this.#server = server
      this.state = 'ready'
      void server.exited.then(() => this.#giveBack())
      return {
        ...server,
        stop: () => {
          this.state = 'ending'
          return server.stop()
        },
      }
    } catch (error) {
      await this.#giveBack()
      throw error
    }
  }

  #late(): never {
    const waiting = this.#lent.find(({ port }) => port === undefined)
    throw new BrokerError('engine_failed', `node ${waiting?.loan.lender} did not have its memory ready in time`)
  }

  async #borrow(): Promise<void> {
    const { plan, id, model } = this
    const { node, loans } = this.#options
    const own = plan.members.find((member) => isOwnProcessor(plan.coordinator, member))
    const parts: { member: ClusterMember | undefined; lender: string; device: string; bytes: number }[] = plan.members.map((member) => ({
      member, lender: member.node, device: member.device, bytes: bytesOf(member) + (member === own ? plan.besides : 0),
    }))
    if (!own) parts.push({ member: undefined, lender: node, device: 'CPU', bytes: plan.besides })
    const granted = await Promise.allSettled(
      parts.map(async ({ member, ...part }) => {
        const loan = await loans.borrow({ ...part, model, cluster: id, own: part.lender === node })
        this.#lent.push({ loan, member, port: undefined })
      }),
    )
    for (const each of granted) if (each.status === 'rejected') throw each.reason
    this.#granted = true
  }

  /** A line may be cut, or somebody else be there: a llama-server that waits for an rpc-server in vain waits for ever. */
  async #greet(): Promise<void> {
    await Promise.all(
      this.#lent.map(async ({ member, port = 0 }) => {
        if (!member || member.node === this.#options.node) return
        const host = this.#options.hostOf(member.node) ?? ''
        await rpcHello(host, port, AbortSignal.timeout(HELLO_MS)).catch((error: unknown) => {
          throw new BrokerError('engine_failed', `the memory that node ${member.node} lends cannot be reached at ${host}:${port}`, { cause: error })
        })
      }),
    )
  }

  #addressOf(member: ClusterMember): string {
    const lent = this.#lent.find((each) => each.member === member)
    return `${this.#options.hostOf(member.node) ?? ''}:${lent?.port ?? 0}`
  }

  /** What has become of its loans, in the order of `loans` when they were asked for. */
  renewed(loans: readonly Loan[], answers: readonly Renewed[]): void {
    for (const [i, { state }] of answers.entries()) {
      const lent = this.#lent.find(({ loan }) => loan.id === loans[i]?.id)
      if (!lent) continue
      if (state.state === 'ready') lent.port = state.port
      else if (state.state === 'failed') this.fail(`node ${lent.loan.lender}: ${state.reason}`)
      else if (state.state === 'gone') this.fail(`node ${lent.loan.lender} lends its memory no longer`)
    }
    if (this.#granted && this.#lent.every(({ port }) => port !== undefined)) this.#allReady.resolve()
    this.#options.onWanted(this, answers.some(({ wanted }) => wanted))
  }

  /** It cannot go on. */
  fail(reason: string): void {
    if (this.#server) this.#server.fail(reason)
    else this.#lost.reject(new BrokerError('engine_failed', `${this.model} cannot be spread: ${reason}`))
  }

  async #giveBack(): Promise<void> {
    const { loans } = this
    this.state = 'ending'
    this.#lent = []
    this.#options.onGivenBack(loans)
    // What cannot be said now ends by itself, as nobody renews it.
    await this.#options.loans.release(loans).catch(() => undefined)
  }
}
