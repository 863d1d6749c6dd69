import { randomBytes } from 'node:crypto'
import { Batches } from './batches/batches.ts'
import { Files } from './batches/files.ts'
import { Claims } from './claims.ts'
import { checkRedis, connect, isOutOfMemory, JUDGE_AFTER_MS, memoryUse, upFor, type ConnectionSettings, type RedisFacts } from './connection.ts'
import { DesiredModelStore } from './desired-models.ts'
import { GatewayBroker, MODEL_WORK, type GatewayBrokerOptions } from './gateway.ts'
import { KeyChanges } from './key-changes.ts'
import { Keyring } from './keyring.ts'
import { DEFAULT_PREFIX, keys } from './keys.ts'
import { KeptJobs } from './kept-jobs.ts'
import { Lanes } from './lanes.ts'
import { LANE_BYTES } from './limits.ts'
import { Loans } from './loans.ts'
import { BEAT, Registry } from './registry.ts'
import { StoredResponses } from './responses.ts'
import { scripts } from './scripts.ts'
import { SharedPulls } from './shared-pulls.ts'
import { sweeper } from './sweeper.ts'
import { ticketsOf } from './tickets.ts'
import { WaitingJobs } from './waiting-jobs.ts'
import { checkWire, tellWire } from './wire.ts'
import { WebhookStore } from './webhooks.ts'
import { VIEW_KEYS, WorkerBroker } from './worker.ts'

export interface BrokerSettings extends ConnectionSettings {
  prefix?: string
  allowEviction?: boolean
  onError(error: unknown): void
  onRecovered?(lane: string, jobs: string[]): void
}

/** How a process opens each of its further connections. */
const further = (settings: BrokerSettings): ConnectionSettings => ({ ...settings, sendTwice: 0 })

/**
 * Who hears of errors that nobody waits for. While Redis' memory is full, what is repeated every second fails every second: that is said once
 * a minute. What is under way when the connection is closed fails by that, and is nobody's trouble: after `close` nothing is said.
 */
const reporter = (onError: BrokerSettings['onError']) => {
  let said = -Infinity
  let closed = false
  return {
    report(error: unknown) {
      if (closed) return
      const full = isOutOfMemory(error)
      if (full && performance.now() - said < 60_000) return
      if (full) said = performance.now()
      onError(error)
    },
    close: () => void (closed = true),
  }
}

const common = async (settings: BrokerSettings, name: string) => {
  const base = settings.prefix ?? DEFAULT_PREFIX
  const redis = await connect(settings, name)
  const facts: RedisFacts = await checkRedis(redis, settings)
  const named = keys(base)
  await checkWire(redis, named)
  const lanes = new Lanes(redis, named)
  await lanes.ready()
  const defined = scripts(redis, facts)
  const instance = randomBytes(12).toString('base64url')
  const { report, close: closeReports } = reporter(settings.onError)
  return { base, redis, facts, instance, closeReports, parts: { redis, keys: named, base, lanes, scripts: defined, onError: report } }
}

export interface GatewaySettings extends Pick<GatewayBrokerOptions, 'laneLimit' | 'onEnded'> {
  /** Most bytes of the living jobs of one lane, `LANE_BYTES` by default. */
  laneBytes?: number
}

/** Everything a gateway needs of Redis. @throws BrokerError when Redis cannot be reached or must not be used */
export const openGateway = async (id: string, { laneLimit, laneBytes, onEnded, ...settings }: BrokerSettings & GatewaySettings) => {
  const { redis, facts, instance, closeReports, parts } = await common(settings, `drover-gateway-${id}`)
  const subscriber = await connect(further(settings), `drover-gateway-${id}-replies`)
  const registry = new Registry(parts)
  const jobs = new GatewayBroker({ ...parts, id, subscriber, laneLimit, laneBytes: laneBytes ?? LANE_BYTES, ...(onEnded && { onEnded }) })
  const lives = () => Promise.all([registry.gatewayLives(id, instance), tellWire(redis, parts.keys)])
  await lives()
  await jobs.listen()
  const apiKeys = new Keyring({ ...parts, subscriber })
  await apiKeys.open()
  const beat = () => void lives().catch(parts.onError)
  redis.on('ready', beat)
  const heartbeat = setInterval(beat, 1_000)
  const upMs = upFor(redis)
  const sweeping = sweeper({ ...parts, id, ...(settings.onRecovered && { onRecovered: settings.onRecovered }) })
  return {
    facts,
    jobs,
    kept: new KeptJobs(parts),
    registry,
    webhooks: new WebhookStore(parts),
    claims: new Claims(parts),
    pulls: new SharedPulls(parts),
    /** What this gateway shows to workers to which it sends files. */
    tickets: ticketsOf(parts),
    desired: new DesiredModelStore(parts),
    files: new Files(parts),
    responses: new StoredResponses(parts),
    apiKeys,
    keyChanges: new KeyChanges({ ...parts, keyring: apiKeys }),
    batches: new Batches(parts),
    lanes: parts.lanes,
    waiting: new WaitingJobs(parts),
    memory: () => memoryUse(redis),
    /** What waits and runs in all lanes; `bytes`: of the requests of both. */
    depths: async () => {
      const names = (await redis.smembers(parts.keys.lanes)) as Parameters<typeof parts.keys.ofLane>[0][]
      if (names.length === 0) return []
      const list = names.flatMap((lane) => VIEW_KEYS.map((name) => parts.keys.ofLane(lane, name)))
      const [numbers, bytes] = (await Promise.all([parts.scripts.view(list, [parts.base]), redis.hmget(parts.keys.bytes, ...names)])) as [number[], (string | null)[]]
      return names.map((lane, i) => ({ lane, waiting: numbers[3 * i]!, headAge: numbers[3 * i + 1]!, running: numbers[3 * i + 2]!, bytes: Number(bytes[i] ?? 0) }))
    },
    get up() {
      return redis.status === 'ready'
    },
    /** ms for which Redis has been there without a break. */
    get upMs() {
      return upMs()
    },
    /** Redis has been there for long enough that the silence of others says something. */
    get mayJudge() {
      return upMs() >= JUDGE_AFTER_MS
    },
    async close() {
      clearInterval(heartbeat)
      sweeping.stop()
      apiKeys.close()
      jobs.close()
      if (redis.status === 'ready') await registry.leave('gateway', id).catch(() => undefined)
      closeReports()
      subscriber.disconnect()
      redis.disconnect()
    },
  }
}
export type GatewayConnection = Awaited<ReturnType<typeof openGateway>>

/** Everything a worker needs of Redis. @throws BrokerError when Redis cannot be reached or must not be used */
export const openWorker = async (node: string, settings: BrokerSettings) => {
  const { redis, facts, instance, closeReports, parts } = await common(settings, `drover-worker-${node}`)
  const subscriber = await connect(further(settings), `drover-worker-${node}-control`)
  const blocking = await connect(further(settings), `drover-worker-${node}-wait`)
  const registry = new Registry(parts)
  const loans = new Loans({ ...parts, node, subscriber })
  const jobs = new WorkerBroker({ ...parts, node, instance, subscriber, blocking })
  await jobs.listen()
  const sweeping = sweeper({ ...parts, id: node, ...(settings.onRecovered && { onRecovered: settings.onRecovered }) })
  return {
    facts,
    instance,
    jobs,
    registry,
    loans,
    /** What this node and others show each other when they copy model files. */
    tickets: ticketsOf(parts),
    /** Runs whenever the connection comes back. */
    onReady: (then: () => void) => void redis.on('ready', then),
    /** Runs when this node is to say something at once, because the answer has news for it. */
    onBeatWanted: (then: () => void) => void subscriber.on('message', (_channel: string, text: string) => text === BEAT && then()),
    /** Runs when there may be work on this node's models. Only saves waiting. */
    onModelWork: (then: () => void) => void subscriber.on('message', (_channel: string, text: string) => text === MODEL_WORK && then()),
    async close() {
      sweeping.stop()
      jobs.close()
      if (redis.status === 'ready') await registry.leave('node', node).catch(() => undefined)
      closeReports()
      for (const connection of [blocking, subscriber, redis]) connection.disconnect()
    },
  }
}
export type WorkerConnection = Awaited<ReturnType<typeof openWorker>>
