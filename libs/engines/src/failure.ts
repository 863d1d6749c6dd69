import { BrokerError } from '@drover/core'
import { errors } from 'undici'

const reasons: Record<string, string> = {
  ECONNREFUSED: 'refused the connection',
  ECONNRESET: 'closed the connection',
  EPIPE: 'closed the connection',
  UND_ERR_SOCKET: 'closed the connection',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'closed the connection before its answer was whole',
  UND_ERR_CONNECT_TIMEOUT: 'did not accept a connection in time',
  ETIMEDOUT: 'did not accept a connection in time',
  EHOSTUNREACH: 'is not reachable',
  ENETUNREACH: 'is not reachable',
  ENOTFOUND: 'has a host name that does not resolve',
  EAI_AGAIN: 'has a host name that does not resolve',
  UND_ERR_DESTROYED: 'was closed by this worker',
  UND_ERR_CLOSED: 'was closed by this worker',
}

/** What went wrong below HTTP, as the error of a job: names the engine and the reason, never what was asked or answered. */
export const engineFailure = (id: string, error: unknown): BrokerError => {
  if (error instanceof BrokerError) return error
  if (error instanceof errors.HTTPParserError) {
    // No cause: the parser's error carries a piece of the answer, and whoever logs a cause would log that piece.
    // On a connection that was to be closed anyway undici tells a cut by its parser.
    if (error.message.includes('Invalid EOF state')) return new BrokerError('engine_failed', `engine ${id} closed the connection before its answer was whole`)
    return new BrokerError('engine_protocol', `engine ${id} answered something that is not HTTP`)
  }
  const code = codeOf(error)
  const reason = reasons[code] ?? `failed (${code || 'no reason given'})`
  return new BrokerError('engine_failed', `engine ${id} ${reason}`, { cause: error })
}

/** A host name with several addresses fails with one error per address, and the outer one may have no code. */
const codeOf = (error: unknown): string => {
  const inner = error instanceof AggregateError ? (error.errors[0] as unknown) : undefined
  for (const candidate of [error, inner]) {
    if (candidate instanceof Error && 'code' in candidate && typeof candidate.code === 'string') return candidate.code
  }
  return ''
}

/** Every answer of a Drover gateway has this header. */
export const GATEWAY_HEADER = 'x-drover'

/**
 * The address of an engine is a Drover gateway, which answers `/api/version` and `/api/tags` as Ollama does. Taken for an engine,
 * each job would become another job, without end.
 */
export class GatewayLoop extends BrokerError {
  constructor(id: string) {
    super('engine_failed', `engine ${id} is a Drover gateway, not an engine: a job sent there would come back as a new job`)
  }
}
