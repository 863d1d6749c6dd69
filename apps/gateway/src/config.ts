import { fileURLToPath } from 'node:url'
import { BrokerError, DesiredModels, PullablePattern } from '@drover/core'
import { bytes, defineConfig, duration, EXIT, ExitError, joinSettings, logSettings, redisSettings, setting } from '@drover/service'
import { z } from 'zod'
import { isLoopback } from './access.ts'
import { s3Endpoint, s3Location } from './files/s3-location.ts'
import { BACK_OFF_TEXT } from './webhooks/back-off.ts'

/** The port that `drover up` and every example use. */
export const DEFAULT_PORT = 11435

/** JSON text as what it says; what is none is left for the schema to refuse. */
const jsonText = (value: unknown): unknown => {
  if (typeof value !== 'string') return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

export const gatewayConfig = defineConfig('gateway', {
  ...redisSettings,
  ...joinSettings,
  ...logSettings,
  host: setting({ schema: z.string().min(1).default('127.0.0.1'), describe: 'address to listen on; beyond loopback a key is needed' }),
  port: setting({ schema: z.coerce.number().int().min(0).max(65_535).default(DEFAULT_PORT), describe: 'port to listen on' }),
  apiKey: setting({ schema: z.string().min(8).optional(), describe: "the operator's key, which may do everything; others are made with it", secret: true }),
  open: setting({ schema: z.boolean().default(false), describe: 'listen beyond loopback without a key' }),
  origins: setting({ schema: z.array(z.string()).default([]), describe: 'web pages that may call us, * as wildcard', env: ['OLLAMA_ORIGINS'] }),
  id: setting({ schema: z.string().regex(/^[\w.-]{1,64}$/).optional(), describe: 'what the name of this gateway begins with; the rest is new at each start' }),
  bodyLimit: setting({ schema: bytes({ min: 1024, max: 512 * 1024 ** 2 }).prefault('32mb'), describe: 'largest request body' }),
  timeout: setting({ schema: duration({ min: 1_000 }).prefault('1h'), describe: 'longest that a request may take, waiting included' }),
  laneLimit: setting({ schema: z.coerce.number().int().min(1).default(10_000), describe: 'most jobs that may wait for one model' }),
  laneBytes: setting({ schema: bytes({ min: 1024 ** 2 }).prefault('1gb'), describe: 'most bytes of requests that may wait or run for one model' }),
  maxWait: setting({ schema: duration({ min: 100 }).optional(), describe: 'refuse at once who would wait longer; by default who would wait as long as a request may take' }),
  memoryShare: setting({ schema: z.coerce.number().min(0.1).max(1).default(0.9), describe: "share of Redis' memory limit from which on nothing new is taken" }),
  maxOpen: setting({ schema: z.coerce.number().int().min(1).default(20_000), describe: 'most answers under way at once' }),
  grace: setting({ schema: duration({ min: 100 }).prefault('15s'), describe: 'a stream waits this long for its first token before it sends its header' }),
  keepAlive: setting({ schema: duration({ min: 100 }).prefault('15s'), describe: 'silence on a stream after which the client is told that we are here' }),
  keep: setting({ schema: duration({ min: 1_000 }).prefault('10m'), describe: 'how long an answer can be read after its end, where its client may leave it' }),
  keepResponses: setting({ schema: duration({ min: 60_000 }).prefault('24h'), describe: 'how long a response that is stored can be asked for after its end' }),
  responseBytes: setting({ schema: bytes({ min: 1024 ** 2 }).prefault('128mb'), describe: 'most bytes of stored responses of one key' }),
  storeResponses: setting({ schema: z.boolean().default(false), describe: 'store responses whose request does not say whether' }),
  keepResults: setting({ schema: duration({ min: 1_000 }).prefault('24h'), describe: 'how long the answer of a request that was handed in, or has an Idempotency-Key, is kept after its end' }),
  keepLimit: setting({ schema: duration({ min: 1_000 }).prefault('7d'), describe: 'longest that x-drover-keep may ask for' }),
  mostKept: setting({ schema: z.coerce.number().int().min(1).default(10_000), describe: 'most jobs that are kept for one owner, those that wait or run included' }),
  resume: setting({ schema: z.boolean().default(true), describe: 'answers that were begun on a node that died go on elsewhere' }),
  webhookPrivate: setting({ schema: z.boolean().default(false), describe: 'webhooks may point to private addresses, this machine among them' }),
  webhookTimeout: setting({ schema: duration({ min: 100, max: 120_000 }).prefault('15s'), describe: 'longest that an endpoint may take to answer' }),
  webhookWaits: setting({ schema: z.array(duration({ max: 86_400_000 })).max(20).prefault(BACK_OFF_TEXT.split(',')), describe: 'how long to wait after each failure before an endpoint is told once more; then it is given up' }),
  drainLimit: setting({ schema: duration().prefault('30s'), describe: 'longest that answers under way may take when the gateway is stopped' }),
  filesDir: setting({ schema: z.string().min(1).default(fileURLToPath(new URL('../../../.drover/data/files', import.meta.url))), describe: 'folder for files of batches; gateways that share one see the same files' }),
  filesS3: setting({ schema: s3Location().optional(), describe: 'bucket of an S3 store for files of batches, instead of a folder: s3://BUCKET/PREFIX; credentials as AWS programs find them' }),
  filesS3Endpoint: setting({ schema: s3Endpoint().optional(), describe: "where that store is reached, if it is not AWS' own", env: ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'] }),
  filesS3Region: setting({ schema: z.string().regex(/^[\w-]{1,64}$/).optional(), describe: 'region of the bucket; us-east-1 where there is an endpoint', env: ['AWS_REGION', 'AWS_DEFAULT_REGION'] }),
  filesS3PathStyle: setting({ schema: z.boolean().optional(), describe: 'the bucket stands in the path of URLs, and not in the name of the host; by default where there is an endpoint' }),
  fileLimit: setting({ schema: bytes({ min: 1024 }).prefault('512mb'), describe: 'largest file that may be uploaded' }),
  fileKeep: setting({ schema: duration({ min: 1_000 }).prefault('720h'), describe: 'how long a file is kept whose client does not say' }),
  batchLines: setting({ schema: z.coerce.number().int().min(1).max(1_000_000).default(100_000), describe: 'most requests of one batch' }),
  batchWindow: setting({ schema: duration({ min: 1_000 }).prefault('24h'), describe: 'how long a batch may take; what has no answer by then is told so' }),
  pullReplicas: setting({ schema: z.coerce.number().int().min(1).max(1_000).default(1), describe: 'nodes that a pulled model is brought to, where the request does not say' }),
  blobsDir: setting({ schema: z.string().min(1).default(fileURLToPath(new URL('../../../.drover/data/blobs', import.meta.url))), describe: 'folder for files that clients send to have models made of them; gateways that share one see the same files' }),
  blobsLimit: setting({ schema: bytes({ min: 1 }).prefault('50gb'), describe: 'most bytes of those files together' }),
  missing: setting({ schema: z.enum(['refuse', 'pull']).default('refuse'), describe: 'a model that no node holds: refuse who asks for it, or pull it while they wait, where pullable has it' }),
  pullable: setting({ schema: z.array(PullablePattern).default([]), describe: 'models that may be pulled for who asks for them, * as wildcard within one part of a name' }),
  modelTimeout: setting({ schema: duration({ min: 1_000 }).prefault('24h'), describe: 'longest that pulling, pushing or making a model may take' }),
  models: setting({ schema: z.preprocess(jsonText, DesiredModels.optional()), describe: 'which models are to be on which nodes: a JSON object, model to {replicas, nodes, labels, preload, keepAlive, numCtx}, see docs/models.md' }),
  modelsPrune: setting({ schema: z.boolean().default(false), describe: 'copies that were brought for what `models` says are deleted when it no longer says so' }),
  reconcileGrace: setting({ schema: duration({ max: 3_600_000 }).prefault('5m'), describe: 'how long a node that is gone is waited for before its copies are brought elsewhere; an hour at most' }),
  allowEviction: setting({ schema: z.boolean().default(false), describe: 'accept a Redis that evicts keys: jobs may vanish' }),
  sendTwice: setting({ schema: z.coerce.number().min(0).max(1).default(0), describe: 'for tests: share of script calls that are sent twice' }),
})

/** @throws ExitError when the gateway would be open to the network by accident */
export const requireKey = ({ host, apiKey, open }: { host: string; apiKey?: string | undefined; open: boolean }, keys: number): void => {
  if (isLoopback(host) || apiKey !== undefined || keys > 0 || open) return
  throw new ExitError(`the gateway would listen on ${host} for everybody: make a key first (drover keys create), set DROVER_API_KEY, or say --open if that is wanted`)
}

/** @throws ExitError when models are to be pulled for who asks, and none may be */
export const requirePullable = ({ missing, pullable }: { missing: 'refuse' | 'pull'; pullable: readonly string[] }): void => {
  if (missing === 'pull' && pullable.length === 0) throw new ExitError("missing: pull needs to know which models may be pulled: set pullable, as in DROVER_PULLABLE='llama3.2:*,hf.co/unsloth/*'", EXIT.refused)
}

/** What kept a process from starting, as one line. A Redis that cannot be reached may be there on the next try. */
export const startError = (error: unknown): unknown =>
  error instanceof BrokerError ? new ExitError(error.message, error.code === 'broker_unavailable' ? EXIT.failed : EXIT.refused) : error
