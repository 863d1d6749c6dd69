import { BrokerError, may, type Caller, type Scope } from '@drover/core'
import { dialects } from '@drover/dialects'

/** A path, and all below it where it ends with `/`. */
const within = (path: string): RegExp => new RegExp(path.endsWith('/') ? `^${path.slice(0, -1)}(/|$)` : `^${path}$`)

/** Nearly all requests: these are found at once. */
const INFERENCE: ReadonlySet<string> = new Set(Object.values(dialects).flatMap(({ path, aliases = [] }) => [path, ...aliases]))

const of = (scopes: readonly Scope[], ...paths: string[]) => paths.map((path) => ({ path: within(path), scopes }))

/** What a key must be allowed to do for each route, one of them; the first row that fits counts. What has no row is open to any valid key. */
const ROWS: readonly { path: RegExp; scopes: readonly Scope[] }[] = [
  ...of(['admin'], '/api/keys/'),
  { path: /^\/api\/nodes\/[^/]+\/(drain|undrain)$/, scopes: ['admin'] },
  ...of(['batch'], '/v1/files/', '/v1/batches/', '/v1/messages/batches/', '/api/batches/'),
  // They are told of jobs and of batches.
  ...of(['infer', 'batch'], '/api/webhooks/'),
  ...of(['infer'], '/v1/responses/', '/api/jobs/', '/api/plan'),
  ...of(['models'], '/api/pull', '/api/push', '/api/create', '/api/copy', '/api/delete', '/api/transfer', '/api/load', '/api/unload', '/api/blobs/'),
  ...of(['models'], '/api/models/desired'),
  ...of(['metrics'], '/metrics'),
]
const INFER: readonly Scope[] = ['infer']

/** Scopes of which one is needed; `undefined`: any valid key will do. */
export const scopesOf = (path: string): readonly Scope[] | undefined => (INFERENCE.has(path) ? INFER : ROWS.find((row) => row.path.test(path))?.scopes)

/** @throws BrokerError `forbidden`, which names what is missing */
export const checkScope = (caller: Caller, path: string): void => {
  const scopes = scopesOf(path)
  if (scopes?.some((scope) => may(caller, scope)) === false) throw new BrokerError('forbidden', `this API key may not do that: it lacks the scope ${scopes.map((scope) => `"${scope}"`).join(' or ')}`)
}
