import { BrokerError, type StoredFile } from '@drover/core'
import { z } from 'zod'

const seconds = (ms: number): number => Math.floor(ms / 1000)

/** A file as OpenAI's API shows it. */
export const fileObject = ({ id, bytes, createdAt, expiresAt, name, purpose }: StoredFile) => ({
  id,
  object: 'file' as const,
  bytes,
  created_at: seconds(createdAt),
  ...(expiresAt !== undefined && { expires_at: seconds(expiresAt) }),
  filename: name,
  purpose,
  status: 'processed' as const,
  status_details: null,
})

const HOUR_S = 3_600
const LONGEST_S = 30 * 24 * HOUR_S

/** How long something is kept that is to expire so long after its creation, ms; `undefined`: nothing is said. @throws BrokerError `bad_request` */
export const expiresAfter = (anchor: string | undefined, secondsText: string | number | undefined): number | undefined => {
  if (anchor === undefined && secondsText === undefined) return undefined
  const value = Number(secondsText)
  if (anchor !== 'created_at') throw new BrokerError('bad_request', "expires_after.anchor can only be 'created_at'")
  if (!Number.isInteger(value) || value < HOUR_S || value > LONGEST_S) throw new BrokerError('bad_request', `expires_after.seconds is a whole number from ${HOUR_S} to ${LONGEST_S}`)
  return value * 1000
}

const ID = z.string().max(100)
export const FilesQuery = z.object({
  after: ID.optional(),
  limit: z.coerce.number().int().min(1).max(10_000).default(10_000),
  order: z.enum(['asc', 'desc']).default('desc'),
  purpose: z.string().max(40).optional(),
})
