import { randomBytes } from 'node:crypto'
import { openGateway, readLane } from '@drover/broker'
import { BrokerError } from '@drover/core'
import { announceListening, createLog, loadConfig, onShutdown, redisTarget, runMain, VERSION } from '@drover/service'
import { access } from './access.ts'
import { Admission } from './admission.ts'
import { gatewayApp } from './app.ts'
import { gatewayConfig, requireKey, startError } from './config.ts'
import { listen } from './http-server.ts'
import { gatewayMetrics } from './metrics.ts'
import { RegistryView } from './registry-view.ts'
import type { Reply } from './reply.ts'

/** How often waiting clients are looked at, ms. */
const KEEP_ALIVE_TICK_MS = 250

runMain(async () => {
  const { values: config, sources } = loadConfig(gatewayConfig)
  requireKey(config)
  const log = createLog({ app: 'gateway', logLevel: config.logLevel, logFormat: config.logFormat })
  const onError = (error: unknown) => log.error({ err: error }, 'unexpected')
  // Never the id of the process before it: that one's jobs are nobody's, and these are not.
  const id = `${config.id ?? 'g'}-${randomBytes(6).toString('base64url')}`

  const redis = await redisTarget('gateway', config, sources)
  const broker = await openGateway(id, {
    ...redis,
    laneLimit: config.laneLimit,
    laneBytes: config.laneBytes,
    // No job is submitted before all of this has started.
    onEnded: (lane, ms, ahead) => admission.completed(lane, ms, ahead),
    allowEviction: config.allowEviction,
    sendTwice: config.sendTwice,
    onError,
    onRecovered: (lane, jobs) => log.warn({ lane, jobs }, 'jobs of a lost worker are back in their lane'),
  }).catch((error: unknown) => {
    throw startError(error)
  })
  const admission = new Admission({
    readMemory: () => broker.memory(),
    memoryShare: config.memoryShare,
    maxWaitMs: config.maxWait ?? config.timeout,
    onMemory: (full, use) => log[full ? 'warn' : 'info'](use, full ? 'Redis has little memory left: new requests are refused' : 'Redis has memory again'),
    onError,
  })
  if (!broker.facts.appendOnly) log.warn('Redis keeps no append-only file: jobs do not outlive it')

  await admission.look()
  const view = new RegistryView({ read: () => broker.registry.nodes(), onError })
  await view.refresh()
  const replies = new Set<Reply>()
  let draining = false
  const metrics = gatewayMetrics({
    open: () => replies.size,
    nodes: () => view.nodes.length,
    memory: () => admission.memory,
    lanes: async () => (await broker.depths()).map(({ lane, waiting, running, bytes }) => ({ ...readLane(lane), waiting, running, bytes })),
  })
  const app = gatewayApp({
    broker,
    view,
    metrics,
    admission,
    replies,
    settings: { bodyLimit: config.bodyLimit, timeoutMs: config.timeout, maxOpen: config.maxOpen, resume: config.resume, keepMs: config.keep },
    access: access({ host: config.host, apiKey: config.apiKey, origins: config.origins }),
    gateway: { id, version: VERSION, startedAt: Date.now(), open: () => replies.size },
    draining: () => draining,
    onError,
  })

  const server = await listen({ fetch: app.fetch, host: config.host, port: config.port })
  const keepingAlive = setInterval(() => {
    for (const reply of replies) reply.keepAlive(config.keepAlive, config.grace)
  }, KEEP_ALIVE_TICK_MS)
  const { url } = server
  log.info({ url, gateway: id, redis: broker.facts.version }, 'listening')
  announceListening(url)

  onShutdown(
    [
      {
        name: 'let answers end',
        limitMs: config.drainLimit + 1_000,
        run: async () => {
          draining = true
          await server.drain(config.drainLimit)
          // What takes longer ends honestly, not cut off.
          for (const reply of replies) reply.lost(new BrokerError('draining', 'server busy: this gateway is shutting down'))
        },
      },
      { name: 'close connections', limitMs: 1_000, run: () => (clearInterval(keepingAlive), server.close()) },
      { name: 'leave Redis', limitMs: 2_000, run: () => (admission.stop(), view.stop(), broker.close()) },
    ],
    { log },
  )
})
