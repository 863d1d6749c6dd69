import { setTimeout as sleep } from 'node:timers/promises'
import type { Lease } from '@drover/broker'

const PAUSE_MS = { first: 500, most: 2_000 }

/**
 * Keeps a job whose engine has failed from its lane for a while, longer each time; its slot is free meanwhile. A job that fails by its
 * own fault would else stand at the head of the lane and keep the others from it. Ends early when the lease does, or a drain begins.
 */
export const retryPause = async ({ attempt, signal }: Pick<Lease, 'attempt' | 'signal'>): Promise<void> =>
  sleep(Math.min(PAUSE_MS.first * 2 ** (attempt - 1), PAUSE_MS.most), undefined, { signal }).catch(() => undefined)
