import { randomBytes } from 'node:crypto'
import { openGateway, readLane, shownLane } from '@drover/broker'
import { BrokerError } from '@drover/core'
import { announceListening, createLog, loadConfig, onShutdown, redisTarget, runMain, VERSION } from '@drover/service'
import { access } from './access.ts'
import { Admission } from './admission.ts'
import { gatewayApp } from './app.ts'
import { batchRunners } from './batches/runners.ts'
import { reconcile } from './desired/reconcile.ts'
import { isUnavailable } from './files/content-store.ts'
import { openStore } from './files/open-store.ts'
import { sweepFiles } from './files/sweeping.ts'
import { gatewayConfig, requireKey, requirePullable, startError } from './config.ts'
import { listen } from './http-server.ts'
import { gatewayMetrics } from './metrics.ts'
import { BlobSpool } from './models/blob-spool.ts'
import { OnDemand } from './models/on-demand.ts'
import { RegistryView } from './registry-view.ts'
import type { OpenAnswer } from './reply.ts'
import { Deliverer } from './webhooks/deliverer.ts'
import { sink } from './webhooks/sink.ts'

/** How often waiting clients are looked at, ms. */
const KEEP_ALIVE_TICK_MS = 250

runMain(async () => {
  const { values: config, sources } = loadConfig(gatewayConfig)
  requirePullable(config)
  const log = createLog({ app: 'gateway', logLevel: config.logLevel, logFormat: config.logFormat })
  const onError = (error: unknown) => {
    // A store that cannot be used has told so itself.
    if (!isUnavailable(error)) log.error({ err: error }, 'unexpected')
  }
  // Never the id of the process before it: that one's jobs are nobody's, and these are not.
  const id = `${config.id ?? 'g'}-${randomBytes(6).toString('base64url')}`

  const redis = await redisTarget('gateway', config, sources)
  const broker = await openGateway(id, {
    ...redis,
    laneLimit: config.laneLimit,
    laneBytes: config.laneBytes,
    // No job is submitted before all of this has started.
    onEnded: (lane, ms, ahead) => {
      if (!onDemand?.hasWaited(readLane(lane).model, ms)) admission.completed(lane, ms, ahead)
    },
    allowEviction: config.allowEviction,
    sendTwice: config.sendTwice,
    onError,
    onRecovered: (lane, jobs) => log.warn({ lane, jobs }, 'jobs of a lost worker are back in their lane'),
  }).catch((error: unknown) => {
    throw startError(error)
  })
  requireKey(config, broker.apiKeys.size)
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
  const onDemand =
    config.missing === 'pull'
      ? new OnDemand({
          broker,
          view,
          pullable: config.pullable,
          timeoutMs: config.modelTimeout,
          onBrought: (fields) => log.info(fields, 'model brought for jobs that wait'),
          onFailed: (fields) => log.warn(fields, 'model cannot be brought: the jobs that wait for it have failed'),
          onForgotten: (lane) => admission.forget(lane),
          onError,
        })
      : undefined
  const store = await openStore(config, broker, log)
  const sweeping = store && sweepFiles({ files: broker.files, store, who: id, onError })
  const replies = new Set<OpenAnswer>()
  const blobs = new BlobSpool({ folder: config.blobsDir, most: config.blobsLimit, onError })
  let draining = false
  const metrics = gatewayMetrics({
    open: () => replies.size,
    nodes: () => view.nodes,
    // Nobody asks before all of this has started.
    drift: () => reconciler.drift,
    memory: () => admission.memory,
    lanes: async () => (await broker.depths()).map(({ lane, waiting, running, bytes }) => ({ ...shownLane(lane), waiting, running, bytes })),
  })
  const deliverer = new Deliverer({
    store: broker.webhooks,
    sink: sink({ allowPrivate: config.webhookPrivate, timeoutMs: config.webhookTimeout, version: VERSION }),
    waits: config.webhookWaits,
    timeoutMs: config.webhookTimeout,
    up: () => broker.up,
    onOutcome: (outcome) => metrics.webhook(outcome),
    onGivenUp: (fields) => log.warn(fields, 'webhook given up'),
    onError,
  })
  const settings = {
    fileLimit: config.fileLimit,
    fileKeepMs: config.fileKeep,
    bodyLimit: config.bodyLimit,
    timeoutMs: config.timeout,
    maxOpen: config.maxOpen,
    resume: config.resume,
    keepMs: config.keep,
    keepResultsMs: config.keepResults,
    keepLimitMs: config.keepLimit,
    mostKept: config.mostKept,
    keepResponsesMs: config.keepResponses,
    responseBytes: config.responseBytes,
    storeResponses: config.storeResponses,
    webhookPrivate: config.webhookPrivate,
    batchWindowMs: config.batchWindow,
    batchLines: config.batchLines,
    pullReplicas: config.pullReplicas,
    modelTimeoutMs: config.modelTimeout,
    reconcileGraceMs: config.reconcileGrace,
  }
  const { reconciler, onDesired } = await reconcile({ broker, view, id, settings, described: config.models && { models: config.models, prune: config.modelsPrune }, log, onError })
  const entrance = access({ host: config.host, apiKey: config.apiKey, open: config.open, keys: broker.apiKeys, origins: config.origins })
  const runners = store && batchRunners({ broker, view, admission, onDemand, store, settings, callerOf: entrance.callerOf, onError })
  const app = gatewayApp({
    broker,
    view,
    metrics,
    admission,
    onDemand,
    replies,
    blobs,
    store,
    settings,
    runners,
    access: entrance,
    gateway: { id, version: VERSION, startedAt: Date.now(), open: () => replies.size },
    draining: () => draining,
    onDesired,
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
          void reconciler.stop()
          await runners?.stop()
          await server.drain(config.drainLimit)
          // What takes longer ends honestly, not cut off.
          for (const reply of replies) reply.lost(new BrokerError('draining', 'server busy: this gateway is shutting down'))
        },
      },
      { name: 'close connections', limitMs: 1_000, run: () => (clearInterval(keepingAlive), server.close()) },
      { name: 'leave webhooks to others', limitMs: 2_000, run: () => deliverer.stop() },
      { name: 'leave Redis', limitMs: 2_000, run: () => (blobs.close(), admission.stop(), onDemand?.stop(), view.stop(), sweeping?.stop(), broker.close()) },
    ],
    { log },
  )
})
