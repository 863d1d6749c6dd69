import { TEST_TYPE, type Claim, type Verdict, type WebhookStore } from '@drover/broker'
import { nextTryMs } from './back-off.ts'
import type { Sink, Told } from './sink.ts'

/** How often every gateway looks for events, ms. */
const LOOK_MS = 500
/** Under way at once: of one gateway, of one owner, of one webhook. A sink that hangs holds up its own events, and nobody else's. */
const MOST = 100
const MOST_OF_OWNER = 20
const MOST_OF_WEBHOOK = 4
/** A gateway that has not answered for a claim so long after its try must be over is dead, ms. */
const LEASE_MARGIN_MS = 5_000
/** A gateway that is being stopped waits this long for what is under way, ms. */
const STOP_MS = 1_000

export type Outcome = 'delivered' | 'retried' | 'failed'

export interface DelivererOptions {
  store: Pick<WebhookStore, 'dispatch' | 'answer'>
  sink: Sink
  /** ms of each wait after a failure. */
  waits: readonly number[]
  /** Longest that a try takes, ms. */
  timeoutMs: number
  /** Whether Redis can be reached. */
  up(): boolean
  onOutcome(outcome: Outcome): void
  /** An event is given up, or its endpoint is told nothing more. */
  onGivenUp(fields: { webhook: string; event: string; type: string; tries: number; reason: string }): void
  onError(error: unknown): void
}

/** Tells endpoints what has ended: claims what is due, sends it, says how it went. Every gateway of an installation does so. */
export class Deliverer {
  #options: DelivererOptions
  #underWay = new Map<Claim, Promise<void>>()
  #webhooks = new Map<string, number>()
  #owners = new Map<string, number>()
  #abort = new AbortController()
  #looking = false
  #again = false
  #failing = false
  #stopped = false
  #timer: NodeJS.Timeout

  constructor(options: DelivererOptions) {
    this.#options = options
    this.#timer = setInterval(() => void this.look(), LOOK_MS)
  }

  /** Looks for what is due now. */
  async look(): Promise<void> {
    this.#again = true
    if (this.#looking || !this.#options.up()) return
    this.#looking = true
    try {
      while (this.#again && !this.#stopped && this.#underWay.size < MOST) {
        this.#again = false
        await this.#dispatch()
        this.#failing = false
      }
    } catch (error) {
      // What is repeated twice a second fails twice a second: that is said once.
      if (!this.#failing && !this.#stopped) this.#options.onError(error)
      this.#failing = true
    } finally {
      this.#looking = false
    }
  }

  async #dispatch(): Promise<void> {
    const { store, timeoutMs } = this.#options
    const { claims, more } = await store.dispatch({
      leaseMs: timeoutMs + LEASE_MARGIN_MS,
      most: MOST - this.#underWay.size,
      mostOfWebhook: MOST_OF_WEBHOOK,
      mostOfOwner: MOST_OF_OWNER,
      underWay: { webhooks: this.#webhooks, owners: this.#owners },
    })
    if (more) this.#again = true
    for (const claim of claims) this.#begin(claim)
  }

  #begin(claim: Claim): void {
    count(this.#webhooks, claim.webhook, 1)
    count(this.#owners, claim.owner, 1)
    const work = this.#deliver(claim)
      .catch(this.#options.onError)
      .finally(() => {
        count(this.#webhooks, claim.webhook, -1)
        count(this.#owners, claim.owner, -1)
        this.#underWay.delete(claim)
        // Its place is free for the next.
        void this.look()
      })
    this.#underWay.set(claim, work)
  }

  async #deliver(claim: Claim): Promise<void> {
    const { store, sink, onOutcome, onGivenUp } = this.#options
    const told = await sink.tell(claim, this.#abort.signal)
    const verdict = this.#abort.signal.aborted && told.status === undefined ? ({ kind: 'returned' } as const) : this.#verdict(claim, told)
    if (!(await store.answer(claim, verdict)) || verdict.kind === 'returned') return
    onOutcome(verdict.kind === 'retry' ? 'retried' : verdict.kind === 'delivered' ? 'delivered' : 'failed')
    const { webhook, event, type, tries } = claim
    if (verdict.kind === 'failed' || verdict.kind === 'gone') onGivenUp({ webhook, event, type, tries, reason: told.reason ?? '' })
  }

  #verdict({ type, step }: Claim, { status, reason }: Told): Verdict {
    if (reason === undefined) return { kind: 'delivered', status }
    if (status === 410) return { kind: 'gone', status, reason }
    const delayMs = type === TEST_TYPE ? undefined : nextTryMs(step, this.#options.waits)
    return delayMs === undefined ? { kind: 'failed', status, reason } : { kind: 'retry', status, reason, delayMs }
  }

  /** Takes nothing new; what does not end within a moment is left to another gateway. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    let timer: NodeJS.Timeout | undefined
    const work = Promise.all(this.#underWay.values())
    await Promise.race([work, new Promise((resolve) => (timer = setTimeout(resolve, STOP_MS)))])
    clearTimeout(timer)
    this.#abort.abort()
    await work
    await this.#options.sink.close()
  }
}

const count = (counts: Map<string, number>, name: string, by: number): void => {
  const now = (counts.get(name) ?? 0) + by
  if (now === 0) counts.delete(name)
  else counts.set(name, now)
}
