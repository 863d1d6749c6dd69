import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, ExitError, childEnvironment, farewell, loadConfig, onShutdown, prettyLine, readListening } from '@drover/service'
import { type Status, readStatus, whyNotReady } from '../gateway-client.ts'
import { mainFile } from '../project.ts'
import { holdDataFolder, openDataFolder } from './data-folder.ts'
import { type Part, type PartOptions, startPart } from './part.ts'
import { findRedis, privateRedis, redisReady } from './private-redis.ts'
import { upConfig } from './up-config.ts'
import { welcome } from './welcome.ts'

/** What a part may need to end besides letting its work end. */
const STOP_MARGIN_MS = 15_000
const REDIS_STOP_MS = 12_000
/** How long the parts of an `up` that was killed may take to notice and end. */
const ORPHANS_MS = 10_000
/** Longest that gateway and Redis may take to be ready. */
const READY_MS = 60_000
/** How long the greeting waits for the worker, and from then on for its models. */
const NODE_MS = 15_000
const MODELS_MS = 1_500

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const consoleLog = {
  info: (fields: object, message: string) => 'reason' in fields && say(`${message} (${String(fields.reason)})`),
  warn: (fields: object, message: string) => say(`${message}: ${'step' in fields ? String(fields.step) : ''}`),
}

/** An address that a client on this machine can use for what a server listens on. */
const localUrl = (host: string, port: number): string => {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`
}

const tryPort = (host: string, port: number): Promise<NodeJS.ErrnoException | undefined> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })

/** Fails with one clear line when the gateway could not listen there, `patienceMs` later still. */
const portIsFree = async (host: string, port: number, patienceMs: number): Promise<void> => {
  const limit = performance.now() + patienceMs
  for (let error = await tryPort(host, port); error !== undefined; error = await tryPort(host, port)) {
    const place = `port ${port} on ${host}`
    if (error.code !== 'EADDRINUSE') throw new ExitError(`${place} cannot be used (${error.message}): correct --host or --port`)
    if (performance.now() > limit) throw new ExitError(`${place} is in use: stop what listens there, or give another one with --port`)
    await sleep(200)
  }
}

/** `drover up`: Redis, gateway and worker together, in the foreground, until it is told to stop. */
export const up = async (argv: readonly string[]): Promise<void> => {
  const { values, sources } = loadConfig(upConfig, { argv, usage: 'drover up [settings]' })
  const data = openDataFolder(values.data)
  const takenOver = await holdDataFolder(data)
  await portIsFree(values.host, values.port, takenOver ? ORPHANS_MS : 0)
  const program = sources.redisUrl === 'default' ? findRedis(values.redisServer, childEnvironment({})['PATH'] ?? '') : undefined
  const redis = program === undefined ? undefined : privateRedis(program, data)

  const stopMs = values.drainLimit + STOP_MARGIN_MS
  const parts: { redis?: Part; gateway?: Part; worker?: Part } = {}
  let failure: string | undefined
  let greeted = false
  const shutdown = onShutdown(
    [
      { name: 'worker', limitMs: stopMs + 2_000, run: () => parts.worker?.stop() },
      { name: 'gateway', limitMs: stopMs + 2_000, run: () => parts.gateway?.stop() },
      { name: 'redis', limitMs: REDIS_STOP_MS + 2_000, run: () => parts.redis?.stop() },
    ],
    {
      log: consoleLog,
      exit: (code) => {
        if (failure !== undefined) process.stderr.write(`${failure}\n`)
        process.exit(code)
      },
    },
  )
  const { signal } = shutdown
  const fail = (reason: string, code: number): void => {
    if (signal.aborted) return
    failure = reason
    void shutdown.begin('a part failed', code)
  }

  const env = childEnvironment({
    DROVER_REDIS_URL: redis?.url ?? values.redisUrl,
    DROVER_REDIS_URL_FILE: undefined,
    DROVER_PREFIX: values.prefix,
    DROVER_API_KEY: values.apiKey,
    DROVER_API_KEY_FILE: undefined,
    ...(sources.drainLimit === '--drain-limit' && { DROVER_DRAIN_LIMIT: `${values.drainLimit}ms` }),
    DROVER_LOG_LEVEL: values.logLevel,
    DROVER_LOG_FORMAT: 'json',
  })
  const config = argv.flatMap((word, at) => (word === '--config' ? [word, argv[at + 1] ?? ''] : word.startsWith('--config=') ? [word] : []))
  const start = (name: keyof typeof parts, options: Omit<PartOptions, 'name' | 'env' | 'onLine' | 'patient'>): void => {
    signal.throwIfAborted()
    const onLine = (line: string): void => say(values.logFormat === 'json' ? line : `${name.padEnd(7)} | ${prettyLine(line)}`)
    const part = startPart({ name, env, onLine, patient: () => greeted, ...options })
    void part.givenUp.then((reason) => fail(reason, EXIT.failed))
    parts[name] = part
  }

  const run = async (): Promise<void> => {
    if (redis !== undefined) {
      start('redis', { file: redis.file, args: redis.args, stopLimitMs: REDIS_STOP_MS })
      await redisReady(redis.socket, signal, () => say('Redis is reading its file back…'))
    }
    let url = localUrl(values.host, values.port)
    start('gateway', {
      file: mainFile('gateway'),
      args: ['--host', values.host, '--port', `${values.port}`, ...(sources.open === '--open' ? ['--open'] : []), ...config],
      stopLimitMs: stopMs,
      onMessage: (message) => (url = readListening(message) ?? url),
    })
    if (values.worker) {
      const engine = sources.engine === '--engine' ? ['--engine', JSON.stringify(values.engine)] : []
      start('worker', { file: mainFile('worker'), args: [...engine, ...config], stopLimitMs: stopMs })
    }
    await gatewayReady(() => url, signal)
    const status = await firstStatus(() => readStatus({ url, apiKey: values.apiKey }), values.worker, signal)
    for (const line of welcome({ url, keyed: values.apiKey !== undefined, worker: values.worker, status })) say(line)
    greeted = true
  }

  await run().catch((error: unknown) => {
    const { text, code } = farewell(error)
    fail(text, code)
  })
}

const gatewayReady = async (url: () => string, signal: AbortSignal): Promise<void> => {
  const limit = performance.now() + READY_MS
  for (let reason = await whyNotReady(url()); reason !== undefined; reason = await whyNotReady(url())) {
    if (performance.now() > limit) throw new ExitError(`the gateway at ${url()} is not ready after ${READY_MS / 1_000} s: ${reason}`, EXIT.failed)
    await sleep(100, undefined, { signal })
  }
}

/** The nodes as they are once our worker has shown itself and its models, or after a while as they are. */
const firstStatus = async (read: () => Promise<{ status: Status }>, worker: boolean, signal: AbortSignal): Promise<Status> => {
  let limit = performance.now() + (worker ? NODE_MS : 0)
  for (let seen = false; ; ) {
    const { status } = await read()
    const found = status.nodes.some(({ engines }) => engines.some(({ models }) => models.length > 0))
    if (found || performance.now() > limit) return status
    if (!seen && status.nodes.length > 0) limit = performance.now() + MODELS_MS
    seen = status.nodes.length > 0
    await sleep(100, undefined, { signal })
  }
}
