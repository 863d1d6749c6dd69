import { z } from 'zod'
import type { KeyLimits } from './api-key.ts'

/** What a caller may do: `infer` requests for an answer at once or later, `batch` files and batches, `models` managing models, `metrics` reading them, `admin` all of it, for everybody. */
export const Scope = z.enum(['infer', 'batch', 'models', 'metrics', 'admin'])
export type Scope = z.infer<typeof Scope>

/** Whose something is: the id of a key, `operator` for who has the gateway's own key, `local` where no key is asked for. Stored beside everything that outlives a connection. */
export const Owner = z.string().regex(/^[a-z0-9_]{1,64}$/).brand<'Owner'>()
export type Owner = z.infer<typeof Owner>

/** Who makes a request. */
export interface Caller {
  owner: Owner
  scopes: ReadonlySet<Scope>
  /** The highest priority that it may ask for, 1 to 10. */
  priorityCeiling: number
  /** The largest part of a model's slots that its batches may keep busy at once, up to 1. */
  batchShare: number
  /** Whether it may use the model with this canonical name; absent: any. */
  allowsModel?(model: string): boolean
  /** What it may use up; absent: no bound. */
  limits?: KeyLimits
}

export const OPERATOR = 'operator' as Owner
export const LOCAL = 'local' as Owner

/** A caller who may do everything. */
export const almighty = (owner: Owner): Caller => ({ owner, scopes: new Set(Scope.options), priorityCeiling: 10, batchShare: 1 })

export const may = ({ scopes }: Caller, scope: Scope): boolean => scopes.has('admin') || scopes.has(scope)

/** Whether a caller may see and change what belongs to `owner`. Who may not is told that it is not there. */
export const reaches = ({ owner: own, scopes }: Caller, owner: string): boolean => own === owner || scopes.has('admin')
