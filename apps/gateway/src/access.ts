import { timingSafeEqual } from 'node:crypto'
import { hostname, networkInterfaces } from 'node:os'
import { keyHash, type Keyring } from '@drover/broker'
import { almighty, BrokerError, LOCAL, OPERATOR, type Caller, type Owner } from '@drover/core'

export interface AccessSettings {
  /** The address that the gateway listens on. */
  host: string
  apiKey?: string | undefined
  /** Whoever comes is served where there is no key at all, also beyond loopback. */
  open: boolean
  /** All keys that were made. */
  keys: Pick<Keyring, 'size' | 'identify' | 'callerOf'>
  /** Further allowed origins, `*` as wildcard. */
  origins: readonly string[]
}

export interface AccessRequest {
  host: string | undefined
  origin: string | undefined
  authorization: string | undefined
  apiKey: string | undefined
}

/** Bound here, nobody from elsewhere gets in. */
export const isLoopback = (host: string): boolean => /^(localhost|::1|\[::1\]|127\.\d+\.\d+\.\d+)$/.test(host)

/** Origins that Ollama always allows (v0.33): this machine's pages, desktop apps, editors and browser extensions. */
const ALWAYS = [
  /^https?:\/\/(localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(:\d+)?$/,
  /^(app|file|tauri|vscode-webview|vscode-file|chrome-extension|moz-extension|safari-web-extension):\/\//,
]

const wildcard = (pattern: string) => new RegExp(`^${pattern.split('*').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`, 'i')

const MACHINE = hostname().toLowerCase()

const isOwnAddress = (address: string): boolean => Object.values(networkInterfaces()).some((own) => own?.some((each) => each.address === address))

/** Names by which a request may address a server that is bound to loopback: a page elsewhere that re-points its own name here has none. */
const isOwnName = (host: string): boolean => {
  const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '').toLowerCase()
  return (
    name === '' || name === 'localhost' || name === MACHINE || /\.(localhost|local|internal)$/.test(name) ||
    name === '::1' || /^(127|10)\.\d+\.\d+\.\d+$/.test(name) || /^192\.168\.\d+\.\d+$/.test(name) || /^172\.(1[6-9]|2\d|3[01])\.\d+\.\d+$/.test(name) ||
    name === '0.0.0.0' || /^f[cde][0-9a-f]{2}:/.test(name) || isOwnAddress(name)
  )
}

/** What pages may send: Ollama's list (v0.33), and what clients of the other APIs and of Drover send. */
const HEADERS = [
  'authorization', 'content-type', 'user-agent', 'accept', 'x-requested-with', 'openai-beta', 'x-api-key', 'x-request-id', 'anthropic-version', 'anthropic-beta',
  'anthropic-dangerous-direct-browser-access', 'last-event-id', 'x-drover-on-disconnect', 'x-drover-distributed', 'x-drover-priority', 'x-drover-resume', 'x-drover-webhook', 'x-drover-keep', 'x-drover-nodes',
  'prefer', 'idempotency-key',
  ...['lang', 'package-version', 'os', 'arch', 'retry-count', 'runtime', 'runtime-version', 'async', 'helper-method', 'poll-helper', 'custom-poll-interval', 'timeout'].map(
    (name) => `x-stainless-${name}`,
  ),
]
const HEADER_NAME = /^[\w!#$%&'*+.^`|~-]{1,100}$/
const MOST_HEADERS = 64

/** The headers that a preflight allows a page that may ask at all: the list, and what this one says that it sends. */
export const allowedHeaders = (asked: string | undefined): string => {
  const own = (asked ?? '').toLowerCase().split(',').map((name) => name.trim()).filter((name) => HEADER_NAME.test(name))
  return [...new Set([...HEADERS, ...own.slice(0, MOST_HEADERS)])].join(', ')
}

/** Who may talk to the gateway, and who that is. */
export const access = ({ host, apiKey, open, keys, origins }: AccessSettings) => {
  const allowed = [...ALWAYS, ...origins.map(wildcard)]
  const expected = apiKey === undefined ? undefined : Buffer.from(keyHash(apiKey))
  const guardHost = isLoopback(host)
  const opensWithoutKeys = !expected && (open || guardHost)
  return {
    /** Whether only own names are served: then any OPTIONS with one of them is answered. */
    guardsHost: guardHost,
    allowsOrigin: (origin: string): boolean => allowed.some((pattern) => pattern.test(origin)),
    /** Of pages: which of them may talk to us, and under which name. Answers an error to refuse with, or nothing. */
    checkSource({ host: to, origin }: AccessRequest): BrokerError | undefined {
      if (guardHost && to !== undefined && !isOwnName(to)) return new BrokerError('forbidden', 'this host name is not served here')
      if (origin === undefined || allowed.some((pattern) => pattern.test(origin))) return undefined
      const sameHost = URL.canParse(origin) && new URL(origin).host === to
      return sameHost ? undefined : new BrokerError('forbidden', 'this origin is not allowed')
    },
    /** Whether there would be somebody who may make and revoke keys if no made key could. */
    get hasOperator(): boolean {
      return expected !== undefined
    },
    /** Where the last key is gone, whether everybody is served. */
    opensWithoutKeys,
    /** @throws BrokerError `unauthorized` */
    identify({ authorization, apiKey: given }: AccessRequest): Caller {
      if (opensWithoutKeys && keys.size === 0) return almighty(LOCAL)
      const key = given ?? /^Bearer\s+(.+)$/i.exec(authorization ?? '')?.[1]
      if (key === undefined) throw new BrokerError('unauthorized', 'an API key is required: Authorization: Bearer KEY')
      const hashed = keyHash(key)
      if (expected && timingSafeEqual(Buffer.from(hashed), expected)) return almighty(OPERATOR)
      return keys.identify(hashed)
    },
    /** Whoever has made something that goes on without a request, as it may act now; `undefined`: its key is revoked, or has expired. */
    callerOf: (owner: Owner): Caller | undefined => (owner === OPERATOR || owner === LOCAL ? almighty(owner) : keys.callerOf(owner)),
  }
}
export type Access = ReturnType<typeof access>
