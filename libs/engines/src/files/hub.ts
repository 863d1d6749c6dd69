import { basename } from 'node:path'
import { BrokerError, nameParts, type ModelName } from '@drover/core'
import { z } from 'zod'

/** What is brought of a repository where the name says no quantization, as Ollama does it. */
const USUAL = 'Q4_K_M'
const ANSWER_MS = 30_000
const PART = /-\d{5}-of-(\d{5})\.gguf$/i

const Tree = z.array(z.object({ type: z.string(), path: z.string(), size: z.number(), lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int() }).optional() }))
type Entry = z.infer<typeof Tree>[number]

export interface HubFile {
  url: string
  /** `-00001-of-00003` where it is a part. */
  part: string
  size: number
  /** SHA-256, 64 hex digits. */
  digest: string
}

export interface HubOptions {
  /** `https://huggingface.co` or a mirror of it. */
  endpoint: string
  token: string | undefined
  signal: AbortSignal
}

/**
 * The files of a model on the hub, in order.
 * @returns `undefined` where there is no such repository, or no such file in it @throws BrokerError `engine_failed` when the hub cannot be asked
 */
export const hubFiles = async (name: string, { endpoint, token, signal }: HubOptions): Promise<HubFile[] | undefined> => {
  const { namespace, name: repository, tag } = nameParts(name as ModelName)
  const origin = endpoint.replace(/\/+$/, '')
  const place = `${encodeURIComponent(namespace)}/${encodeURIComponent(repository)}`
  const failed = (reason: string, cause?: unknown) => new BrokerError('engine_failed', `${origin} ${reason}`, { cause })
  const response = await fetch(`${origin}/api/models/${place}/tree/main?recursive=true`, { headers: hubHeaders(token), signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]) }).catch((error: unknown) => {
    signal.throwIfAborted()
    throw failed('cannot be reached', error)
  })
  // To those who may not see it the hub says 401, whether it is there or not.
  if (response.status === 404 || response.status === 401 || response.status === 403) return undefined
  if (!response.ok) throw failed(`answered with status ${response.status}`)
  const tree = Tree.safeParse(await response.json().catch(() => undefined))
  if (!tree.success) throw failed('answers in a form that this worker cannot read')
  const files = chosen(tree.data, tag)
  if (files.length === 0) return undefined
  return files.map(({ path, lfs }) => ({
    url: `${origin}/${place}/resolve/main/${path.split('/').map(encodeURIComponent).join('/')}`,
    part: PART.exec(path)?.[0].replace(/\.gguf$/i, '') ?? '',
    size: lfs!.size,
    digest: lfs!.oid,
  }))
}

export const hubHeaders = (token: string | undefined): Record<string, string> => (token === undefined ? {} : { authorization: `Bearer ${token}` })

/** The file of a quantization, or all of its parts. */
export const chosen = (tree: readonly Entry[], tag: string): Entry[] => {
  const files = tree.filter(({ type, path, lfs }) => type === 'file' && lfs && /\.gguf$/i.test(path) && !/^mmproj/i.test(basename(path))).toSorted((a, b) => (a.path < b.path ? -1 : 1))
  const named = (quantization: string) => files.filter(({ path }) => hasMark(path, quantization))
  const found = tag.toLowerCase() === 'latest' ? [named(USUAL), files].find((each) => each.length > 0) : named(tag)
  const [first] = found ?? []
  if (!first) return []
  const count = PART.exec(first.path)
  return count ? files.filter(({ path }) => path.replace(/-\d{5}-of-/, '') === first.path.replace(/-\d{5}-of-/, '')) : [first]
}

/** Whether a file's name has this between dashes or dots: `Llama-3.2-3B-Instruct-UD-Q4_K_XL` has `Q4_K_XL`, and `UD-Q4_K_XL`. */
const hasMark = (path: string, mark: string): boolean => {
  const stem = basename(path).replace(PART, '').replace(/\.gguf$/i, '')
  return `-${stem}-`.replaceAll('.', '-').toUpperCase().includes(`-${mark.replaceAll('.', '-').toUpperCase()}-`)
}
