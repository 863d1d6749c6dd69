import { isIPv6 } from 'node:net'

const DEFAULT_PORT = 11434

/**
 * The URL that a client reaches for a value of `OLLAMA_HOST`, by Ollama's own rules (v0.33): everything may be left out; the port
 * is 11434, or the scheme's own where a scheme is written; a port that is none gives way to that; quotes and spaces around are
 * dropped. An address to listen on (`0.0.0.0`, `::`, or none) is reached by loopback. `undefined` when no URL comes of it.
 */
export const parseOllamaHost = (text: string): string | undefined => {
  const value = text.trim().replace(/^["']+|["']+$/g, '').trim()
  const [, scheme, rest = ''] = /^(?:([^:/]*):\/\/)?(.*)$/.exec(value) ?? []
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') return undefined
  const slash = rest.indexOf('/')
  const authority = slash < 0 ? rest : rest.slice(0, slash)
  const path = slash < 0 ? '' : rest.slice(slash)
  const fallback = scheme === undefined ? DEFAULT_PORT : scheme === 'https' ? 443 : 80
  const { host, port } = splitAuthority(authority)
  const reached = host === '' || host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  const url = `${scheme ?? 'http'}://${isIPv6(reached) ? `[${reached}]` : reached}:${portOf(port) ?? fallback}${path}`
  // A name and password would be shown wherever the URL is.
  if (authority.includes('@') || !URL.canParse(url)) return undefined
  const { origin, pathname } = new URL(url)
  return origin + pathname.replace(/\/+$/, '')
}

/** `host`, `host:port`, `:port`, `[v6]`, `[v6]:port`, and an IPv6 address without brackets. */
const splitAuthority = (authority: string): { host: string; port: string } => {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(authority)
  if (bracketed) return { host: bracketed[1] ?? '', port: bracketed[2] ?? '' }
  if (isIPv6(authority)) return { host: authority, port: '' }
  const colon = authority.lastIndexOf(':')
  return colon < 0 ? { host: authority, port: '' } : { host: authority.slice(0, colon), port: authority.slice(colon + 1) }
}

const portOf = (text: string): number | undefined => {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  return port > 0 && port <= 65_535 ? port : undefined
}
