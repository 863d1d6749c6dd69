import type { ApiKey } from './api-key.ts'
import type { Owner } from './caller.ts'

/** Who gets in at a gateway without a key that was made. */
export interface Entrance {
  /** There is an operator's key: whoever has it manages keys. */
  hasOperator: boolean
  /** While there is no key at all, whoever comes may do everything. */
  opensWithoutKeys: boolean
}

/**
 * What must hold in the moment in which a change of a key is made, lest nobody can manage keys behind it: nothing; that this other key is
 * as it was; that it is the only key of all.
 */
export type Hold = { kind: 'nothing' } | { kind: 'keeper'; id: Owner } | { kind: 'alone' }

/** Whether somebody can manage keys as long as this one is there. */
const isKeeper = ({ scopes, expires_at: ends }: ApiKey): boolean => scopes.includes('admin') && ends === undefined

/**
 * As soon as there is a key, whoever has none is shut out, the owner of the machine too: so there is to be one that manages keys from the
 * first on, and the last of these stays while there are others.
 * @param before absent: the key is being made @param after absent: it is being revoked
 * @param others all other keys that can be read @param count how many others there are
 * @returns `undefined`: the change must not be made
 */
export const holdOf = ({ before, after }: { before?: ApiKey | undefined; after?: ApiKey | undefined }, others: readonly ApiKey[], count: number, { hasOperator, opensWithoutKeys }: Entrance): Hold | undefined => {
  if (hasOperator || (after && isKeeper(after)) || (before && !isKeeper(before))) return { kind: 'nothing' }
  const keeper = others.find(isKeeper)
  if (keeper) return { kind: 'keeper', id: keeper.id }
  return !after && count === 0 && opensWithoutKeys ? { kind: 'alone' } : undefined
}
