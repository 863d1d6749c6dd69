import type { WorkerConnection } from '@drover/broker'
import type { HeldModel } from '@drover/core'
import type { Engine } from '@drover/engines'
import type { Slots } from './slots.ts'

export interface DescriptionsOptions {
  registry: Pick<WorkerConnection['registry'], 'keepDescriptions' | 'describe'>
  slots: Pick<Slots, 'seats'>
  /** An engine could not say what a model is: told once for each model. */
  onFailure(engine: Engine, held: HeldModel, error: unknown): void
  onError(error: unknown): void
}

/** Well within the life of a description in Redis. */
const RENEW_MS = 20_000
const ASK_MS = 5_000

/**
 * What the engines of this node say of their models, kept in Redis for the gateways: asked for once for each digest, by whichever node
 * finds that nobody has told it, and kept for as long as a node holds it.
 */
export const descriptions = ({ registry, slots, onFailure, onError }: DescriptionsOptions) => {
  const stopped = new AbortController()
  const failed = new Set<string>()
  let telling: Promise<void> | undefined
  let again = false

  const round = async (): Promise<void> => {
    const holders = new Map<string, { engine: Engine; held: HeldModel }>()
    for (const { engine, view } of slots.seats()) for (const held of view.held) if (!holders.has(held.digest)) holders.set(held.digest, { engine, held })
    for (const digest of await registry.keepDescriptions([...holders.keys()])) {
      const holder = holders.get(digest)
      if (!holder || stopped.signal.aborted) continue
      const { engine, held } = holder
      try {
        const description = await engine.describe(held, AbortSignal.any([stopped.signal, AbortSignal.timeout(ASK_MS)]))
        if (description) await registry.describe(digest, description)
      } catch (error) {
        if (!stopped.signal.aborted && !failed.has(digest)) onFailure(engine, held, error)
        failed.add(digest)
      }
    }
  }

  /** One round at a time; what changed meanwhile is told in another one. */
  const rounds = async (): Promise<void> => {
    do {
      again = false
      await round()
    } while (again && !stopped.signal.aborted)
  }
  const tell = (): void => {
    again = true
    telling ??= rounds()
      .catch((error: unknown) => {
        if (!stopped.signal.aborted) onError(error)
      })
      .finally(() => (telling = undefined))
  }
  const timer = setInterval(tell, RENEW_MS)

  return {
    /** Says now what nobody has said yet. */
    tell,
    /** What is half told is left: Redis may be away, and whoever shuts down does not wait for it. */
    stop(): void {
      clearInterval(timer)
      stopped.abort()
    },
  }
}
