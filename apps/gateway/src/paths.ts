import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'

/** Where HEAD is answered: where Ollama answers it (v0.33), and on what probes look at. */
const HEAD = /^\/($|api\/version$|api\/tags$|livez$|readyz$|metrics$)/
const BLOB = /^\/api\/blobs\/[^/]+$/

/** Whether a HEAD of this path is answered like its GET. */
export const answersHead = (path: string): boolean => HEAD.test(path)

/** A route's pattern as an expression over whole paths: `:name` is one segment, `:name{expression}` what it says. */
const expressionOf = (pattern: string): RegExp =>
  new RegExp(`^${pattern.replaceAll(/:\w+(?:\{([^}]+)\})?|[.*+?^$()|[\]\\]/g, (part, inner?: string) => (part.startsWith(':') ? (inner ?? '[^/]+') : `\\${part}`))}$`)

/** Which methods a path has, by a table of routes. */
export const methodsByPath = (routes: readonly { path: string; method: string }[]): ((path: string) => string[]) => {
  const table = routes.filter(({ method }) => method !== 'ALL').map(({ path, method }) => ({ expression: expressionOf(path), method }))
  return (path) => {
    const methods = new Set(table.filter(({ expression }) => expression.test(path)).map(({ method }) => method))
    if (answersHead(path) || BLOB.test(path)) methods.add('HEAD')
    return [...methods]
  }
}

/**
 * What no route answers, as Ollama says it (v0.33): a path that differs from a route by the slash at its end, or by slashes in a row, is
 * sent there, a known path with another method is a 405 that names the right ones, and all else is not found.
 */
export const unrouted =
  (methodsOf: (path: string) => string[]) =>
  (c: Context<GatewayEnv>): Response => {
    const { pathname, search } = new URL(c.req.url)
    const { method } = c.req
    // The method must be right, too: a client repeats what it has sent.
    const single = pathname.replaceAll(/\/{2,}/g, '/')
    if (single !== pathname && methodsOf(single).includes(method)) return c.redirect(single + search, 307)
    const shorter = pathname.slice(0, -1)
    if (shorter.length > 1 && pathname.endsWith('/') && methodsOf(shorter).includes(method)) return c.redirect(shorter + search, method === 'GET' ? 301 : 307)
    const known = methodsOf(pathname)
    return known.length > 0 ? c.text('405 method not allowed', 405, { allow: known.join(', ') }) : c.text('404 page not found', 404)
  }
