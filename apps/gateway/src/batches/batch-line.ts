import { BrokerError } from '@drover/core'
import type { Dialect, ParsedRequest } from '@drover/dialects'
import { checkApart } from '../intake.ts'

/** A line of a batch's file. */
export interface BatchLine {
  customId: string
  method: unknown
  url: unknown
  body: Record<string, unknown>
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
const MOST_ID = 512

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** What is wrong with a line. */
export class LineError extends Error {
  readonly code: string
  readonly param: string | null
  constructor(code: string, message: string, param: string | null = null) {
    super(message)
    this.code = code
    this.param = param
  }
}

/** @throws LineError */
export const readLine = (bytes: Uint8Array): BatchLine => {
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(bytes))
  } catch {
    throw new LineError('invalid_json_line', 'This line is not parseable as valid JSON.')
  }
  if (!isRecord(value)) throw new LineError('invalid_json_line', 'This line is not a JSON object.')
  const { custom_id: customId, method, url, body } = value
  if (typeof customId !== 'string' || customId === '') throw new LineError('missing_required_parameter', "Missing required parameter: 'custom_id', a text.", 'custom_id')
  if (customId.length > MOST_ID) throw new LineError('invalid_custom_id', `The custom_id is longer than ${MOST_ID} characters.`, 'custom_id')
  if (!isRecord(body)) throw new LineError('missing_required_parameter', "Missing required parameter: 'body', an object.", 'body')
  return { customId, method, url, body }
}

/** A request of a batch, as its API reads it. Its answer is one body. @throws BrokerError */
export const readRequest = (dialect: Dialect, body: Record<string, unknown>): ParsedRequest => {
  const streams = 'stream' in (dialect.schema['properties'] as Record<string, unknown>)
  if (streams && body['stream'] === true) throw new BrokerError('bad_request', 'stream: the answers of a batch are not streamed')
  const request = dialect.parse(JSON.stringify(streams ? { ...body, stream: false } : body))
  if (request.stream) throw new BrokerError('bad_request', 'stream: the answers of a batch are not streamed')
  checkApart(request)
  return request
}
