import { stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Tickets } from '@drover/broker'
import { BrokerError, COPY_DESCRIBE_PATH, COPY_FILES_PATH, COPY_SEAL_HEADER, COPY_TICKET_HEADER, inGigabytes, type ModelName } from '@drover/core'
import { workFailure, type Progress } from '@drover/dialects'
import { fetchFile, fetchText, FileDigests, fileNameOf, hubFiles, hubHeaders, nameOfFile, readManifest, type FileFetch, type GgufFolder, type HubOptions, type OllamaFolder } from '@drover/engines'
import { CopyDescription, DESCRIPTION_BYTES } from './description.ts'

/** A large file is read once before it is described, ms. */
const DESCRIBED_MS = 30 * 60_000

/** A node that has the files of a model. */
export interface Peer {
  node: string
  address: string
  port: number
}

export type Destination = { kind: 'ollama'; store: OllamaFolder } | { kind: 'folder'; folder: GgufFolder }

export interface Bring {
  peer: Peer
  model: ModelName
  to: Destination
  tickets: Tickets
  signal: AbortSignal
  onProgress(progress: Progress): void
}

/** Files that an Ollama is yet to make a model of, by name, with their digests. */
export type ToMake = Readonly<Record<string, string>>

interface Wanted {
  digest: string
  size: number
  path: string
  part: string
}

/**
 * Copies a model's files from another node; what of them is here already is not sent again.
 * @returns bytes that were sent, and what the Ollama is to make of the files; absent: they are a model now
 * @throws BrokerError `engine_failed`; `engine_refused` for what cannot be done here whoever sends it; the signal's reason when that ends it
 */
export const bring = async ({ peer, model, to, tickets, signal, onProgress }: Bring): Promise<{ bytes: number; make?: ToMake }> => {
  onProgress({ status: 'pulling manifest' })
  const origin = `http://${peer.address}:${peer.port}`
  const ticketFor = (path: string) => tickets.ticket({ node: peer.node, method: 'GET', path })
  const description = await describedBy(peer, origin, `${COPY_DESCRIBE_PATH}?${new URLSearchParams({ model }).toString()}`, { ticketFor, tickets, signal })
  const wanted = to.kind === 'ollama' ? await missingBlobs(description, to.store) : await missingFiles(namedFiles(description, model), to.folder)
  const bytes = await fetchWanted(wanted, { signal, onProgress }, ({ digest }) => {
    const file = `${COPY_FILES_PATH}${digest}`
    return { url: `${origin}${file}`, headers: () => ({ [COPY_TICKET_HEADER]: ticketFor(file) }), ...(to.kind === 'ollama' && { named: 'by-digest' as const }) }
  })
  if (to.kind === 'folder') return { bytes }
  const { manifest, files } = description
  if (manifest === undefined) return { bytes, make: Object.fromEntries(files.map(({ name = '', digest }) => [name, `sha256:${digest}`])) }
  onProgress({ status: 'writing manifest' })
  // An Ollama that starts anew, or deletes another model, throws away what no manifest names yet.
  const gone = await missingBlobs(description, to.store)
  if (gone.length > 0) throw new BrokerError('engine_failed', 'its Ollama has removed files of it before all were there')
  await to.store.add(model, manifest)
  return { bytes }
}

/**
 * Brings a model's files from Hugging Face's hub into a models folder. @param name with the letters that the repository has
 * @returns bytes that were sent
 * @throws BrokerError `engine_refused` in Ollama's words where there is none, `engine_failed`; the signal's reason when that ends it
 */
export const bringFromHub = async (name: string, model: ModelName, folder: GgufFolder, { endpoint, token, signal, onProgress }: Pick<Bring, 'signal' | 'onProgress'> & Omit<HubOptions, 'signal'>): Promise<number> => {
  onProgress({ status: 'pulling manifest' })
  const files = await hubFiles(name, { endpoint, token, signal })
  if (!files) throw workFailure('pull model manifest: file does not exist')
  const stem = fileNameOf(model).replace(/\.gguf$/, '')
  const urls = new Map(files.map(({ digest, url }) => [digest, url]))
  const wanted = await missingFiles(files.map(({ part, size, digest }) => ({ name: `${stem}${part}.gguf`, size, digest })), folder)
  return fetchWanted(wanted, { signal, onProgress }, ({ digest }) => ({ url: urls.get(digest) ?? '', headers: () => hubHeaders(token), redirects: true }))
}

/** Fetches what is missing, one file after the other. @returns bytes that were sent */
const fetchWanted = async (wanted: readonly Wanted[], { signal, onProgress }: Pick<Bring, 'signal' | 'onProgress'>, from: (file: Wanted) => Pick<FileFetch, 'url' | 'headers' | 'redirects' | 'named'>): Promise<number> => {
  await checkRoom(wanted)
  let bytes = 0
  for (const file of wanted) {
    const { digest, size, path, part } = file
    const tell = (completed: number) => onProgress({ status: `pulling ${digest.slice(0, 12)}`, digest: `sha256:${digest}`, total: size, ...(completed > 0 && { completed }) })
    tell(0)
    bytes += await fetchFile({ ...from(file), digest, size, path, part, signal, onProgress: tell })
  }
  onProgress({ status: 'verifying sha256 digest' })
  return bytes
}

const describedBy = async ({ node }: Peer, origin: string, path: string, { ticketFor, tickets, signal }: { ticketFor(path: string): string; tickets: Tickets; signal: AbortSignal }): Promise<CopyDescription> => {
  const failed = (reason: string, cause?: unknown) => new BrokerError('engine_failed', `node ${node} at ${origin} ${reason}`, { cause })
  const ticket = ticketFor(path)
  const { status, headers, text } = await fetchText(`${origin}${path}`, { headers: { [COPY_TICKET_HEADER]: ticket }, most: DESCRIPTION_BYTES, silentMs: DESCRIBED_MS, signal }).catch((error: unknown) => {
    signal.throwIfAborted()
    throw failed('cannot be reached for its files', error)
  })
  if (status !== 200) throw failed(`sends no files: ${text.slice(0, 200)}`)
  if (!tickets.isSealed(ticket, text, String(headers[COPY_SEAL_HEADER] ?? ''))) throw failed('is somebody else: its answer is not sealed')
  const parsed = CopyDescription.safeParse(JSON.parse(text))
  if (!parsed.success) throw failed('described the files in a form that this worker cannot read')
  return parsed.data
}

const missingBlobs = async ({ manifest, files }: CopyDescription, store: OllamaFolder): Promise<Wanted[]> => {
  const blobs = manifest === undefined ? files : readManifest(manifest).blobs
  const wanted = await Promise.all(blobs.map(async ({ digest, size }) => ((await store.has({ digest, size })) ? [] : [{ digest, size, path: store.pathOf(digest), part: store.partOf(digest) }])))
  return wanted.flat()
}

interface NamedFile {
  name?: string | undefined
  digest: string
  size: number
}

/** The files as a models folder is to have them. */
const namedFiles = ({ manifest, files }: CopyDescription, model: ModelName): NamedFile[] => {
  const alone = manifest === undefined ? undefined : readManifest(manifest).weights
  if (typeof alone === 'string') throw workFailure(`it cannot be copied into a models folder: ${alone}`)
  if (!alone && files.some(({ name = '' }) => nameOfFile(name) !== model)) throw workFailure('its files are called by another model')
  return alone ? [{ ...alone, name: fileNameOf(model) }] : files
}

const missingFiles = async (named: readonly NamedFile[], folder: GgufFolder): Promise<Wanted[]> => {
  const wanted = await Promise.all(
    named.map(async ({ name = '', digest, size }): Promise<Wanted[]> => {
      const path = folder.pathOf(name)
      if (path === undefined) throw workFailure('a file is called by what can be no name of a file')
      return (await isThere(path, digest, size)) ? [] : [{ digest, size, path, part: await folder.partOf(name, digest) }]
    }),
  )
  return wanted.flat()
}

const sizeOf = (path: string): Promise<number | undefined> => stat(path).then((found) => (found.isFile() ? found.size : undefined), () => undefined)

const isThere = async (path: string, digest: string, size: number): Promise<boolean> => (await sizeOf(path)) === size && (await new FileDigests().of(path)) === digest

/** It does not fit on the disk here, whoever sends it. */
export class NoRoom extends BrokerError {
  constructor(message: string) {
    super('engine_refused', message, { status: 500 })
  }
}

/** What is begun is to end: the room for all of it is asked for before. */
const checkRoom = async (wanted: readonly Wanted[]): Promise<void> => {
  const [first] = wanted
  if (!first) return
  const { bavail, bsize } = await statfs(dirname(first.path))
  const missing = await Promise.all(wanted.map(async ({ size, part }) => Math.max(0, size - ((await sizeOf(part)) ?? 0))))
  const needed = missing.reduce((sum, bytes) => sum + bytes, 0)
  if (needed > bavail * bsize) throw new NoRoom(`no space left on device: ${inGigabytes(needed)} are needed in ${dirname(first.path)}, and ${inGigabytes(bavail * bsize)} are free`)
}
