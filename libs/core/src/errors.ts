import { z } from 'zod'

/**
 * Every way in which Drover refuses or ends a job. `status` is the HTTP status a client sees when nothing has been sent yet;
 * `retry` says who may try again: nobody, the caller (the answer carries `Retry-After`), or the broker on another attempt.
 */
const traits = {
  bad_request: { status: 400, retry: 'never' },
  unauthorized: { status: 401, retry: 'never' },
  forbidden: { status: 403, retry: 'never' },
  model_not_found: { status: 404, retry: 'never' },
  body_too_large: { status: 413, retry: 'never' },
  /** The key has used up what it may use in a minute, or has as many jobs as it may have. */
  rate_limited: { status: 429, retry: 'caller' },
  /** The key has used up what it may use in a day. */
  quota_exceeded: { status: 429, retry: 'caller' },
  /** The idempotency key belongs to another request of this owner. */
  key_reused: { status: 422, retry: 'never' },
  cancelled: { status: 499, retry: 'never' },
  internal: { status: 500, retry: 'never' },
  /** The engine understood and said no: its own status and text travel with the error. */
  engine_refused: { status: 400, retry: 'never' },
  /** The engine failed: not reachable, 5xx, an error event, a crash. */
  engine_failed: { status: 502, retry: 'broker' },
  /** The engine answered something that is not its protocol, or stopped without its end event. */
  engine_protocol: { status: 502, retry: 'broker' },
  /** No header or no token for longer than the node allows. */
  engine_stalled: { status: 504, retry: 'broker' },
  /** The node that ran the job is gone and what was sent cannot be continued. */
  node_lost: { status: 502, retry: 'never' },
  /** The job was started as often as a job may be. */
  attempts_exhausted: { status: 502, retry: 'never' },
  queue_full: { status: 503, retry: 'caller' },
  /** Redis cannot be reached: nothing was accepted. */
  broker_unavailable: { status: 503, retry: 'caller' },
  /** Where the content of files lies cannot be used just now: it does not answer, or refuses the gateway. */
  store_unavailable: { status: 503, retry: 'caller' },
  /** Content that was stored is there no more, or less of it: waiting does not bring it back. */
  content_lost: { status: 410, retry: 'never' },
  draining: { status: 503, retry: 'caller' },
  /** Nothing that is there can run the model, or not as it was asked for, even if nothing else ran: the memory is missing, or its file. */
  cannot_run: { status: 503, retry: 'caller' },
  /** The answer outgrew the limit of a job's log. */
  answer_too_large: { status: 507, retry: 'never' },
  deadline_exceeded: { status: 504, retry: 'caller' },
} as const satisfies Record<string, { status: number; retry: 'never' | 'caller' | 'broker' }>

export type ErrorCode = keyof typeof traits
const codes = Object.keys(traits) as [ErrorCode, ...ErrorCode[]]

export interface BrokerErrorOptions extends ErrorOptions {
  /** Replaces the code's own HTTP status, 400–599: for a refusal that an engine gave. */
  status?: number
  /** The engine's own error body, JSON text of at most 8 KB, when the client speaks the engine's dialect. */
  body?: string
}

/** The one error that reaches clients. The message names the thing that is wrong and never carries a prompt or an answer. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly code: ErrorCode
  readonly status: number
  readonly body: string | undefined
  constructor(code: ErrorCode, message: string, { status, body, ...options }: BrokerErrorOptions = {}) {
    super(message, options)
    this.code = code
    this.status = status ?? traits[code].status
    this.body = body
  }
  get retry() {
    return traits[this.code].retry
  }
}

/** A `BrokerError` as it lies in a job's record. */
export const ErrorInfo = z.object({
  code: z.enum(codes),
  message: z.string(),
  status: z.int().min(400).max(599),
  body: z.string().optional(),
})
export type ErrorInfo = z.infer<typeof ErrorInfo>

export const toErrorInfo = ({ code, message, status, body }: BrokerError): ErrorInfo => ({
  code,
  message,
  status,
  ...(body === undefined ? {} : { body }),
})
export const fromErrorInfo = ({ code, message, status, body }: ErrorInfo): BrokerError =>
  new BrokerError(code, message, { status, ...(body === undefined ? {} : { body }) })

/** Whatever was thrown, as a `BrokerError`; the original is kept as its cause. */
export const toBrokerError = (error: unknown, code: ErrorCode = 'internal'): BrokerError =>
  error instanceof BrokerError
    ? error
    : new BrokerError(code, error instanceof Error ? error.message : String(error), { cause: error })
