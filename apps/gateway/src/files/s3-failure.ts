/** As much as is read of what an S3 client throws: one of its own errors, or one of the network. */
interface Thrown {
  name?: string
  message?: string
  code?: string
  $metadata?: { httpStatusCode?: number | undefined }
}

const NO_NAMES = new Set(['Error', 'AggregateError', 'Unknown'])
const NO_WORDS = new Set(['', 'UnknownError'])

/** Too many requests, and one that took too long. */
const LATER: ReadonlySet<number> = new Set([408, 429])

/** What went wrong with a request to an S3 store, without what was in it: a store's own words in full may repeat a session's token. */
export class S3Failure extends Error {
  override readonly name = 'S3Failure'
  /** The store's word for it, as `NoSuchKey`, or the network's, as `ECONNREFUSED`. */
  readonly code: string
  /** HTTP; `undefined`: there was no answer. */
  readonly status: number | undefined

  constructor(thrown: unknown) {
    const { name = '', message = '', code = '', $metadata } = thrown as Thrown
    const status = $metadata?.httpStatusCode
    const word = name === '' || NO_NAMES.has(name) ? code : name
    const words = [word, NO_WORDS.has(message) ? '' : message].filter((part) => part !== '')
    super(`${words.join(': ')}${status === undefined ? '' : ` (HTTP ${status})`}`.trimStart())
    this.code = word
    this.status = status
  }

  /** There is no such object, or it ends before the bytes that were asked for. */
  get missing(): boolean {
    return this.status === 416 || (this.status === 404 && this.code !== 'NoSuchBucket')
  }

  /** The set-up is wrong: trying again is no use. */
  get refused(): boolean {
    if (this.status === undefined) return this.code === 'CredentialsProviderError' || this.message === 'Region is missing'
    return this.status < 500 && !LATER.has(this.status)
  }
}
