import { createHash, timingSafeEqual } from 'node:crypto'
import { hostname } from 'node:os'
import { BrokerError } from '@drover/core'

export interface AccessSettings {
  /** The address that the gateway listens on. */
  host: string
  apiKey?: string | undefined
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

/** Names by which a request may address a server that is bound to loopback: a page elsewhere that re-points its own name here has none. */
const isOwnName = (host: string): boolean => {
  const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '').toLowerCase()
  return (
    name === '' || name === 'localhost' || name === MACHINE || /\.(localhost|local|internal)$/.test(name) ||
    name === '::1' || /^(127|10)\.\d+\.\d+\.\d+$/.test(name) || /^192\.168\.\d+\.\d+$/.test(name) || /^172\.(1[6-9]|2\d|3[01])\.\d+\.\d+$/.test(name) ||
    name === '0.0.0.0' || /^f[cde][0-9a-f]{2}:/.test(name)
  )
}

const digest = (text: string) => createHash('sha256').update(text).digest()

/** Who may talk to the gateway. Answers an error to refuse with, or nothing. */
export const access = ({ host, apiKey, origins }: AccessSettings) => {
  const allowed = [...ALWAYS, ...origins.map(wildcard)]
  const expected = apiKey === undefined ? undefined : digest(apiKey)
  const guardHost = isLoopback(host)
  return {
    allowsOrigin: (origin: string): boolean => allowed.some((pattern) => pattern.test(origin)),
    /** Of pages: which of them may talk to us, and under which name. */
    checkSource({ host: to, origin }: AccessRequest): BrokerError | undefined {
      if (guardHost && to !== undefined && !isOwnName(to)) return new BrokerError('forbidden', 'this host name is not served here')
      if (origin === undefined || allowed.some((pattern) => pattern.test(origin))) return undefined
      const sameHost = URL.canParse(origin) && new URL(origin).host === to
      return sameHost ? undefined : new BrokerError('forbidden', 'this origin is not allowed')
    },
    checkKey({ authorization, apiKey: given }: AccessRequest): BrokerError | undefined {
      if (!expected) return undefined
      const key = given ?? /^Bearer\s+(.+)$/i.exec(authorization ?? '')?.[1]
      if (key === undefined) return new BrokerError('unauthorized', 'an API key is required: Authorization: Bearer KEY')
      return timingSafeEqual(digest(key), expected) ? undefined : new BrokerError('unauthorized', 'the API key is not valid')
    },
  }
}
export type Access = ReturnType<typeof access>
