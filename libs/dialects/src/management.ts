import { BrokerError, canonicalName } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'
import { anyObject, badRequest, described, flag, int, struct, text, top } from './fields.ts'
import type { Check, Ignored } from './fields.ts'
import { readJsonBody } from './json-body.ts'
import { keepAlive } from './ollama-request.ts'

/** What Ollama's routes for models ask for (v0.33), and Drover's own: `load` and `unload`. */
export type ManagementCall = 'show' | 'pull' | 'push' | 'create' | 'copy' | 'delete' | 'load' | 'unload'

export interface ManagementRequest {
  /** The model that it is about, as the client wrote it (of a copy, the source). */
  model: string
  /** Top-level names of fields that were dropped. */
  ignored: string[]
}

const anything: Check = described({}, (value) => value)
const textMap: Check = described({ type: 'object', additionalProperties: { type: 'string' } }, (value, place, ignored) => {
  const map = anyObject('map[string]string')(value, place, ignored) as JsonObject
  for (const one of Object.values(map)) text(one, place, ignored)
  return map
})

const named = { model: text, name: text }
const transfer = { ...named, insecure: flag, username: text, password: text, stream: flag }
const fold = { foldCase: true }

/** Most nodes that one pull may bring a model to, and one load into the memory of. */
const MOST_REPLICAS = 1_000
const replicas = int(1, MOST_REPLICAS)
/** Tokens of context that no model has. */
const MOST_CTX = 100_000_000

const kept = described({ description: 'How long the model stays in memory without use: seconds, or a duration such as `5m`; negative: for good. It holds until the model is unloaded.' }, keepAlive)

/** Their fields, for reading and for whoever describes the API. */
export const managementFields: Record<ManagementCall, Check> = {
  show: struct('ShowRequest', { ...named, verbose: flag, system: text, template: text, options: anyObject('map[string]interface {}') }, { ...fold, type: 'api.ShowRequest' }),
  pull: struct('PullRequest', { ...transfer, replicas }, { ...fold, type: 'api.PullRequest' }),
  push: struct('PushRequest', transfer, { ...fold, type: 'api.PushRequest' }),
  create: struct(
    'CreateRequest',
    {
      ...named, stream: flag, quantize: text, from: text, files: textMap, adapters: textMap, draft_files: textMap, template: text, license: anything, system: text,
      parameters: anyObject('map[string]interface {}'), messages: anything, renderer: text, parser: text, requires: text, info: anything, remote_host: text,
    },
    { ...fold, type: 'api.CreateRequest' },
  ),
  copy: struct('CopyRequest', { source: text, destination: text }, { ...fold, type: 'api.CopyRequest' }),
  delete: struct('DeleteRequest', named, { ...fold, type: 'api.DeleteRequest' }),
  load: struct('LoadRequest', { ...named, keep_alive: kept, num_ctx: int(1, MOST_CTX), replicas, stream: flag }, { ...fold, type: 'api.LoadRequest' }),
  unload: struct('UnloadRequest', { ...named, stream: flag }, { ...fold, type: 'api.UnloadRequest' }),
}

const STRUCTS: Record<ManagementCall, string> = {
  show: 'ShowRequest', pull: 'PullRequest', push: 'PushRequest', create: 'CreateRequest', copy: 'CopyRequest', delete: 'DeleteRequest',
  load: 'LoadRequest', unload: 'UnloadRequest',
}

const DIGEST = /^sha256[:-][0-9a-fA-F]{64}$/

/** Whether a text is the digest of a blob as Ollama writes it. */
export const isBlobDigest = (digest: string): boolean => DIGEST.test(digest)

const nameOf = (call: ManagementCall, body: JsonObject): string => {
  // `name` is the older spelling.
  const model = (body['model'] || body['name'] || '') as string
  if (model === '' && call !== 'pull' && call !== 'create') throw badRequest('model is required')
  if (!canonicalName(model)) throw badRequest(call === 'delete' ? `name ${JSON.stringify(model)} is invalid` : 'invalid model name')
  return model
}

const checkCreate = ({ from, files, adapters }: JsonObject): void => {
  const given = [files, adapters].flatMap((map) => (isObject(map) ? Object.values(map) : []))
  if (given.some((digest) => !isBlobDigest(digest as string))) throw badRequest('invalid digest format')
  if (!from && given.length === 0) throw badRequest("neither 'from' or 'files' was specified")
}

/**
 * Reads a request for one of the routes for models.
 * @throws BrokerError `bad_request` in Ollama's words
 */
export const parseManagement = (call: ManagementCall, input: string): ManagementRequest => {
  const { model, ignored } = readManagement(call, input)
  return { model, ignored }
}

/** The same with all its fields. @throws BrokerError `bad_request` in Ollama's words */
export const readManagement = (call: ManagementCall, input: string): ManagementRequest & { fields: JsonObject } => {
  const ignored: Ignored = new Set()
  const value = readJsonBody(input, 'missing request body') ?? {}
  const body = managementFields[call](value, top(STRUCTS[call]), ignored) as JsonObject
  if (call === 'copy') {
    for (const end of ['source', 'destination'] as const)
      if (!canonicalName((body[end] ?? '') as string)) throw badRequest(`${end} ${JSON.stringify(body[end] ?? '')} is invalid`)
    return { model: body['source'] as string, ignored: [...ignored], fields: body }
  }
  const model = nameOf(call, body)
  if (call === 'create') checkCreate(body)
  return { model, ignored: [...ignored], fields: body }
}

/** A model that nobody holds, in the words of each route: a copy has other quotes, and show tells the whole name. */
export const managementNotFound = (call: ManagementCall, model: string): BrokerError => {
  const told = call === 'copy' ? JSON.stringify(model) : call === 'show' ? `'${shownName(model)}'` : `'${model}'`
  return new BrokerError('model_not_found', `model ${told} not found`)
}

/** As Ollama shows a name: its own host and namespace left out, a tag always there, upper and lower case as they came. */
const shownName = (model: string): string => {
  const short = model.trim().replace(/^https?:\/\//, '').replace(/^(registry\.ollama\.ai\/)?library\//i, '').replace(/^registry\.ollama\.ai\//i, '')
  return short.slice(short.lastIndexOf('/') + 1).includes(':') ? short : `${short}:latest`
}
