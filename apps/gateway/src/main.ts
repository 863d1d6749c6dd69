import { randomBytes } from 'node:crypto'
import type { Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { openGateway, readLane } from '@drover/broker'
import { BrokerError } from '@drover/core'
import { announceListening, createLog, EXIT, ExitError, loadConfig, onShutdown, redisTarget, runMain, VERSION } from '@drover/service'
import { serve } from '@hono/node-server'
import { access } from './access.ts'
import { gatewayApp } from './app.ts'
import { gatewayConfig, requireKey, startError } from './config.ts'
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
  const id = config.id ?? `g-${randomBytes(6).toString('base64url')}`

  const redis = await redisTarget('gateway', config, sources)
  const broker = await openGateway(id, {
    ...redis,
    laneLimit: config.laneLimit,
    allowEviction: config.allowEviction,
    sendTwice: config.sendTwice,
    onError,
    onRecovered: (lane, jobs) => log.warn({ lane, jobs }, 'jobs of a lost worker are back in their lane'),
  }).catch((error: unknown) => {
    throw startError(error)
  })
  if (!broker.facts.appendOnly) log.warn('Redis keeps no append-only file: jobs do not outlive it')

  const view = new RegistryView({ read: () => broker.registry.nodes(), onError })
  await view.refresh()
  const replies = new Set<Reply>()
  let draining = false
  const metrics = gatewayMetrics({
    open: () => replies.size,
    nodes: () => view.nodes.length,
    lanes: async () => (await broker.depths()).map(({ lane, waiting, running }) => ({ ...readLane(lane), waiting, running })),
  })
  const app = gatewayApp({
    broker,
    view,
    metrics,
    replies,
    settings: { bodyLimit: config.bodyLimit, timeoutMs: config.timeout, maxOpen: config.maxOpen },
    access: access({ host: config.host, apiKey: config.apiKey, origins: config.origins }),
    gateway: { id, version: VERSION, startedAt: Date.now(), open: () => replies.size },
    draining: () => draining,
    onError,
  })

  const server = await listen(app.fetch, config.host, config.port)
  const keepingAlive = setInterval(() => {
    for (const reply of replies) reply.keepAlive(config.keepAlive, config.grace)
  }, KEEP_ALIVE_TICK_MS)
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : config.port
  const url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`
  log.info({ url, gateway: id, redis: broker.facts.version }, 'listening')
  announceListening(url)

  onShutdown(
    [
      {
        name: 'let answers end',
        limitMs: config.drainLimit + 1_000,
        run: async () => {
          draining = true
          server.close()
          for (const end = performance.now() + config.drainLimit; replies.size > 0 && performance.now() < end; await sleep(50)) server.closeIdleConnections()
          // What takes longer ends honestly, not cut off.
          for (const reply of replies) reply.lost(new BrokerError('draining', 'server busy: this gateway is shutting down'))
        },
      },
      { name: 'close connections', limitMs: 1_000, run: () => (clearInterval(keepingAlive), server.closeAllConnections()) },
      { name: 'leave Redis', limitMs: 2_000, run: () => (view.stop(), broker.close()) },
    ],
    { log },
  )
})

const listen = (fetch: Parameters<typeof serve>[0]['fetch'], host: string, port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = serve({ fetch, hostname: host, port, overrideGlobalObjects: false }, () => resolve(server)) as Server
    // Clients keep connections for their next request; Node's 5 s would close them under a request now and then.
    server.keepAliveTimeout = 75_000
    server.requestTimeout = 120_000
    server.on('connection', (socket) => socket.setKeepAlive(true, 30_000).setNoDelay(true))
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'something else listens there already' : error.message
      reject(new ExitError(`cannot listen on ${host}:${port}: ${reason}`, EXIT.refused))
    })
  })
