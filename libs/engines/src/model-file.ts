import { createHash } from 'node:crypto'
import { canonicalName } from '@drover/core'
import type { ModelName } from '@drover/core'

/** What a name may hold that the name of a file may not, as URLs have it: `llama3.2%3A3b.gguf` is `llama3.2:3b`. */
const ESCAPED = /%(3A|2F)/i

/**
 * The name of a model that is known by its file only: the file's name without folder, `.gguf` and the number of its part, with `%3A` and
 * `%2F` read as a colon and a slash, and with what a name may not hold replaced by a dash.
 */
export const nameOfFile = (path: string): ModelName => {
  const stem = (path.split(/[/\\]/).pop() ?? '').replace(/\.gguf$/i, '').replace(/-\d{5}-of-\d{5}$/, '')
  const escaped = ESCAPED.test(stem) ? canonicalName(stem.replaceAll(/%3A/gi, ':').replaceAll(/%2F/gi, '/')) : undefined
  if (escaped) return escaped
  const name = stem.replace(/[^A-Za-z0-9_.-]+/g, '-').replace(/^[^A-Za-z0-9_]+/, '').slice(0, 80)
  return canonicalName(name || 'model') ?? ('model:latest' as ModelName)
}

/** A count of parameters as Ollama writes it: `8.0B`, `295.49K`. */
export const parameterSize = (count: number): string => {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)}B`
  if (count >= 1e6) return `${(count / 1e6).toFixed(2)}M`
  return count >= 1e3 ? `${(count / 1e3).toFixed(2)}K` : String(count)
}

/** llama.cpp's description of a file type (`Q4_K - Medium`, `all F32`) as the tag that people write (`Q4_K_M`, `F32`). */
export const quantizationTag = (ftype: string): string => {
  const [type = '', detail = ''] = ftype.replace(/^\(guessed\) /, '').replace(/^(all|mostly) /, '').split(' - ')
  const sizes: Record<string, string> = { Small: '_S', Medium: '_M', Large: '_L', 'Extra Small': '_XS' }
  return type + (sizes[detail] ?? '')
}

/** A digest for an engine that tells none: 64 hex digits over the given facts. What was not told (`undefined`) counts as such. */
export const derivedDigest = (...facts: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(facts)).digest('hex')
