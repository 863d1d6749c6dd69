import { BrokerError, canonicalName, type ModelCall, type ModelWork } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'
import { goDuration } from './duration.ts'
import { badRequest } from './fields.ts'
import { blobDigest, readManagement } from './management.ts'

/** What a client asks to be done with a model. */
export interface ModelOrder {
  work: ModelWork
  /** The client reads how it goes on. */
  stream: boolean
  /** Nodes that are to have the model, or to have it in memory: of a pull or a load that says so. */
  replicas?: number
  /** Only nodes that have these labels, of a pull that says so. */
  labels?: Record<string, string>
  /** Of a copy between nodes: which one is to have the model. */
  to?: string
  /** Of a create: blobs that it needs, SHA-256 in 64 hex digits each. */
  blobs: string[]
  ignored: string[]
}

/** A name as an engine takes it: what Ollama's clients put around it is no part of it. */
export const nameForEngine = (text: string): string => text.trim().replace(/^https?:\/\//, '').replace(/^hf:/i, 'hf.co/').replace(/:local$/i, '')

/** Fields of a create that name what must be there besides a model: file names, each with its digest. */
const FILES = ['files', 'adapters', 'draft_files']
/** Fields of a create that Drover answers itself. */
const OWN = new Set(['model', 'name', 'stream'])

const blobsIn = (fields: JsonObject): string[] => {
  const digests = FILES.flatMap((name) => (isObject(fields[name]) ? Object.values(fields[name]) : []))
  return [...new Set(digests.flatMap((digest) => blobDigest(String(digest)) ?? []))]
}

/** Seconds that no clock of an engine overflows at. */
const LONGEST_S = 1e9

/** How long a model is to be kept, as `ModelWork` has it. */
const keptFor = (given: unknown): string | undefined => {
  if (given === undefined) return undefined
  if (given === 0 || (typeof given === 'string' && goDuration(given) === 0)) throw badRequest('a model that is loaded with keep_alive 0 would be unloaded at once: POST /api/unload does that')
  return typeof given === 'number' ? String(given < 0 ? -1 : Math.ceil(Math.min(given, LONGEST_S))) : String(given)
}

/**
 * Reads a request for one of the routes that change what nodes hold.
 * @throws BrokerError `bad_request` in Ollama's words
 */
export const parseModelWork = (call: ModelCall, input: string): ModelOrder => {
  const { model: asked, fields, ignored } = readManagement(call, input)
  const model = nameForEngine(asked)
  const copies = typeof fields['replicas'] === 'number' ? { replicas: fields['replicas'] } : {}
  const order = { stream: fields['stream'] !== false, blobs: blobsIn(fields), ignored }
  switch (call) {
    case 'pull':
      return { ...order, work: { call, model, insecure: fields['insecure'] === true }, ...copies, ...(isObject(fields['labels']) && { labels: fields['labels'] as Record<string, string> }) }
    case 'push':
      return { ...order, work: { call, model, insecure: fields['insecure'] === true } }
    case 'transfer':
      return { ...order, work: { call, model, ...(fields['from'] ? { from: fields['from'] as string } : {}) }, to: fields['to'] as string }
    case 'delete':
      return { ...order, work: { call, model } }
    case 'copy':
      return { ...order, work: { call, source: model, destination: nameForEngine(fields['destination'] as string) } }
    case 'create': {
      const { from } = fields
      // An engine takes what is no name for a path.
      if (typeof from === 'string' && from !== '' && !canonicalName(from)) throw badRequest('invalid model name')
      const body = Object.fromEntries(Object.entries(fields).filter(([name]) => !OWN.has(name)))
      return { ...order, work: { call, model, body: { ...body, ...(typeof from === 'string' && { from: nameForEngine(from) }) } } }
    }
    case 'load': {
      const keepAlive = keptFor(fields['keep_alive'])
      return { ...order, work: { call, model, ...(keepAlive !== undefined && { keepAlive }), ...(typeof fields['num_ctx'] === 'number' && { numCtx: fields['num_ctx'] }) }, ...copies }
    }
    case 'unload':
      return { ...order, work: { call, model } }
    default:
      return call satisfies never
  }
}

/** What an engine is asked. `streams`: it tells how it goes on, a line each, and its last one is `success`. */
export interface EngineCallOf {
  method: 'POST' | 'DELETE'
  path: string
  body: string
  streams: boolean
}

/** Work that changes what an engine holds. */
export type HoldingWork = Exclude<ModelWork, { call: 'transfer' | 'load' | 'unload' }>

/** @param held the engine's own name for the model, where it must hold it */
export const engineCall = (work: HoldingWork, held?: string): EngineCallOf => {
  const call = (fields: Record<string, unknown>, streams = true, method: EngineCallOf['method'] = 'POST') => ({ method, path: `/api/${work.call}`, body: JSON.stringify(fields), streams })
  switch (work.call) {
    case 'pull':
    case 'push':
      return call({ model: held ?? work.model, insecure: work.insecure, stream: true })
    case 'delete':
      return call({ model: held ?? work.model }, false, 'DELETE')
    case 'copy':
      return call({ source: held ?? work.source, destination: work.destination }, false)
    case 'create':
      return call({ ...work.body, model: work.model, stream: true })
    default:
      return work satisfies never
  }
}

/** A line of what an engine tells. */
export interface Progress {
  status: string
  digest?: string
  /** Bytes. */
  total?: number
  completed?: number
}

/** What an engine says of work that it could not do; going on elsewhere or once more would not help. */
export const workFailure = (message: string, status = 500): BrokerError => new BrokerError('engine_refused', message, { status: status >= 400 && status < 600 ? status : 500 })

/**
 * A line of an engine's answer.
 * @throws BrokerError `engine_refused` with its words where it tells an error, `engine_protocol` for what is none of its lines
 */
export const progressIn = (line: string): Progress => {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    value = undefined
  }
  if (isObject(value) && typeof value['error'] === 'string') throw workFailure(value['error'])
  if (!isObject(value) || typeof value['status'] !== 'string') throw new BrokerError('engine_protocol', 'an engine told of its work in a form that is not Ollama’s')
  const { status, digest, total, completed } = value
  return {
    status,
    ...(typeof digest === 'string' && digest !== '' && { digest }),
    ...(typeof total === 'number' && total > 0 && { total }),
    ...(typeof completed === 'number' && completed > 0 && { completed }),
  }
}

/** Whether what an engine says of a pull that has failed means that there is no such model. */
export const isUnknownModel = (message: string): boolean => /\bpull model manifest: file does not exist$/.test(message)

export const progressLine = (progress: Progress): string => `${JSON.stringify(progress)}\n`
