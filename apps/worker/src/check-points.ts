import type { Lease } from '@drover/broker'
import type { Exchange } from '@drover/dialects'

/** Often enough that little is made twice, and seldom enough to cost nothing beside the answer itself. */
const EVERY_MS = 1_000

/** Keeps what answers that nobody reads before their end have said so far, so that another attempt can go on with it. */
export const checkPoints = (everyMs = EVERY_MS) => {
  const open = new Map<Lease, Pick<Exchange, 'unsaved'>>()
  const timer = setInterval(() => {
    for (const [lease, conversation] of open) {
      if (lease.saving) continue
      const saved = conversation.unsaved?.()
      if (saved) lease.save(saved)
    }
  }, everyMs)
  return {
    of(lease: Lease, conversation: Exchange): { stop(): void } {
      open.set(lease, conversation)
      return { stop: () => void open.delete(lease) }
    },
    close: () => clearInterval(timer),
  }
}
export type CheckPoints = ReturnType<typeof checkPoints>
