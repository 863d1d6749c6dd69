import { createHash } from 'node:crypto'
import { BrokerError, type BatchError, type BatchSpec, type ModelName } from '@drover/core'
import { dialects, type ParsedRequest } from '@drover/dialects'
import { LineError, readLine, readRequest } from './batch-line.ts'
import { LineIndex, type Place } from './line-index.ts'
import { linesOf } from './lines.ts'

export interface ValidateOptions {
  content: AsyncIterable<Uint8Array>
  spec: Pick<BatchSpec, 'dialect' | 'endpoint' | 'view'>
  limits: { lines: number; lineBytes: number }
  /** The whole name of the model that a request asks for. @throws BrokerError where no job can be made for it */
  resolve(request: ParsedRequest): Promise<ModelName>
}

export type Validated = { errors: BatchError[] } | { models: string[]; index: LineIndex }

/** Of more that are wrong, only the first are told. */
const MOST_ERRORS = 100
/** Models of one batch. */
const MOST_MODELS = 1_000
/** Requests that are known to fail stand behind those of all models: they are answered when it is their turn. */
const NO_MODEL = 'no model'

/**
 * Looks at every line of a batch's file before anything of it runs. Of all lines it keeps where they lie, and a digest of their ids.
 * Anthropic's API has no errors of a whole batch: there what is wrong with one request is that request's error.
 */
export const validate = async ({ content, spec, limits, resolve }: ValidateOptions): Promise<Validated> => {
  const dialect = dialects[spec.dialect]
  const lenient = spec.view === 'anthropic'
  const errors: BatchError[] = []
  const places: Place[] = []
  const ids = new Set<string>()
  const models = new Map<string, number>()
  const known = new Map<string, ModelName | BrokerError>()
  const numberOf = (model: string): number => {
    let number = models.get(model)
    if (number === undefined) models.set(model, (number = models.size))
    return number
  }
  const refuse = (line: number | null, code: string, message: string, param: string | null = null) => void errors.push({ code, message, param, line })

  const modelOf = async (body: Record<string, unknown>): Promise<string> => {
    const request = readRequest(dialect, body)
    const key = `${request.layout ?? ''} ${request.model}`
    let model = known.get(key)
    if (model === undefined) {
      if (known.size >= MOST_MODELS) throw new LineError('too_many_models', `A batch can name ${MOST_MODELS} models.`, 'body.model')
      model = await resolve(request).catch((error: unknown) => {
        if (error instanceof BrokerError) return error
        throw error
      })
      known.set(key, model)
    }
    if (model instanceof BrokerError) throw new LineError(model.code, model.message, 'body.model')
    return model
  }

  let count = 0
  for await (const { number, offset, length, bytes } of linesOf(content, limits.lineBytes)) {
    if (errors.length >= MOST_ERRORS) break
    count += 1
    if (count > limits.lines) {
      refuse(number, 'too_many_lines', `A batch can have ${limits.lines} requests.`)
      break
    }
    try {
      if (!bytes) throw new LineError('line_too_long', `This line is longer than ${limits.lineBytes} bytes.`)
      const { customId, method, url, body } = readLine(bytes)
      const digest = createHash('sha256').update(customId).digest('base64').slice(0, 22)
      if (ids.has(digest)) throw new LineError('duplicate_custom_id', 'This custom_id is used by a line before.', 'custom_id')
      ids.add(digest)
      if (method !== 'POST') throw new LineError('invalid_method', "The method can only be 'POST'.", 'method')
      if (url !== spec.endpoint) throw new LineError('invalid_url', `The url is not the batch's endpoint ${spec.endpoint}.`, 'url')
      const model = await modelOf(body).catch((error: unknown) => {
        if (lenient && (error instanceof BrokerError || error instanceof LineError)) return NO_MODEL
        throw error
      })
      places.push({ offset, length, model: numberOf(model) })
    } catch (error) {
      if (error instanceof LineError) refuse(number, error.code, error.message, error.param)
      else if (error instanceof BrokerError) refuse(number, error.code === 'bad_request' ? 'invalid_request' : error.code, error.message, 'body')
      else throw error
    }
  }
  if (count === 0) refuse(null, 'empty_file', 'The input file is empty.')
  return errors.length > 0 ? { errors } : { models: [...models.keys()], index: LineIndex.of(places) }
}
