import { randomFillSync } from 'node:crypto'
import type { JobId } from '@drover/core'

/** Today's only shard. */
const SHARD = '0-'
const BYTES = 16
const pool = Buffer.allocUnsafe(BYTES * 256)
let used = pool.length

/** A new id of 128 random bits. Asking the system for each would be a tenth of the gateway's work, so they are drawn by the page. */
export const newJobId = (): JobId => {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const id = pool.toString('base64url', used, used + BYTES)
  used += BYTES
  return (SHARD + id) as JobId
}
