import { BrokerError, WIRE_VERSION } from '@drover/core'
import type { Redis } from 'ioredis'
import { isOutOfMemory } from './connection.ts'
import type { Keys } from './keys.ts'
import { GATEWAY_TTL_MS } from './registry.ts'

/** A gateway's word on the version of what it writes; the last one counts, while machines are upgraded one by one. A Redis without memory refuses it, which ends nothing. */
export const tellWire = async (redis: Redis, keys: Keys): Promise<void> => {
  await redis.set(keys.wire, `${WIRE_VERSION}`, 'PX', GATEWAY_TTL_MS).catch((error: unknown) => {
    if (!isOutOfMemory(error)) throw error
  })
}

/**
 * Readers accept the previous version, so one step apart is well.
 * @throws BrokerError `bad_request` when the living gateways are further from this process
 */
export const checkWire = async (redis: Redis, keys: Keys): Promise<void> => {
  const theirs = Number((await redis.get(keys.wire)) ?? WIRE_VERSION)
  if (Math.abs(theirs - WIRE_VERSION) <= 1) return
  const older = theirs > WIRE_VERSION ? 'this Drover is too old for' : 'this Drover is too new for'
  throw new BrokerError('bad_request', `${older} the gateways there (format ${WIRE_VERSION} here, ${theirs} there): install the same version on both`)
}
