import type { GatewayConnection } from '@drover/broker'
import type { ContentStore } from './content-store.ts'

/** How often a gateway looks whether it is its turn, ms. */
const LOOK_MS = 5_000

/** Deletes files that have expired, and content that belongs to none. */
export const sweepFiles = ({ files, store, who, onError }: { files: GatewayConnection['files']; store: ContentStore; who: string; onError(error: unknown): void }): { stop(): void } => {
  let sweeping = false
  const sweep = async () => {
    if (sweeping) return
    sweeping = true
    await files.sweep(store.id, who, (name) => store.delete(name)).catch(onError)
    sweeping = false
  }
  const timer = setInterval(() => void sweep(), LOOK_MS)
  return { stop: () => clearInterval(timer) }
}
