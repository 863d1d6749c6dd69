import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Role } from '@drover/broker/roles'
import { EXIT, ExitError, childEnvironment, farewell, loadConfig, onShutdown, prettyLine, readListening } from '@drover/service'
import { KeyWanted, type Status, readStatus, whyNotReady } from '../gateway-client.ts'
import { mainFile } from '../project.ts'
import { readPasswords } from '../share/credentials.ts'
import { type Share, prepareShare } from '../share/share.ts'
import { holdDataFolder, openDataFolder } from './data-folder.ts'
import { ownModels } from './own-models.ts'
import { type Part, type PartOptions, startPart } from './part.ts'
import { findRedis, privateRedis, redisReady, requireRoles } from './private-redis.ts'
import { OWNER_PASSWORD } from './redis-owner.ts'
import { upConfig } from './up-config.ts'
import { keysOnly, welcome } from './welcome.ts'

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
const portIsFree = async (host: string, port: number, patienceMs: number, flags = { host: '--host', port: '--port' }): Promise<void> => {
  const limit = performance.now() + patienceMs
  for (let error = await tryPort(host, port); error !== undefined; error = await tryPort(host, port)) {
    const place = `port ${port} on ${host}`
    if (error.code !== 'EADDRINUSE') throw new ExitError(`${place} cannot be used (${error.message}): correct ${flags.host} or ${flags.port}`)
    if (performance.now() > limit) throw new ExitError(`${place} is in use: stop what listens there, or give another one with ${flags.port}`)
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
  if (values.share === undefined && (values.announce || values.shareGateway)) throw new ExitError('--announce and --share-gateway go with --share: add it')
  const share = values.share === undefined ? undefined : await shared(values.share, values, program, data, takenOver)
  const redis = program === undefined ? undefined : privateRedis(program, data, share?.redisArgs)
  const owner = readPasswords(data)?.owner

  const stopMs = values.drainLimit + STOP_MARGIN_MS
  const parts: { redis?: Part; gateway?: Part; worker?: Part } = {}
  let following: { stop: () => Promise<void> } | undefined
  let failure: string | undefined
  let greeted = false
  const shutdown = onShutdown(
    [
      { name: 'share', limitMs: 2_000, run: () => following?.stop() },
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
    DROVER_REDIS_CA: values.redisCa,
    DROVER_SENTINEL_PASSWORD: values.sentinelPassword,
    DROVER_SENTINEL_PASSWORD_FILE: undefined,
    ...NOT_JOINING,
    DROVER_PREFIX: values.prefix,
    DROVER_API_KEY: values.apiKey,
    DROVER_API_KEY_FILE: undefined,
    ...(sources.drainLimit === '--drain-limit' && { DROVER_DRAIN_LIMIT: `${values.drainLimit}ms` }),
    DROVER_LOG_LEVEL: values.logLevel,
    DROVER_LOG_FORMAT: 'json',
    // A worker that was killed has ended when the next one starts: its node's name is free at once.
    DROVER_SUPERVISOR: randomBytes(12).toString('base64url'),
  })
  const own = values.worker ? ownModels(values, data, env['PATH'] ?? '') : undefined
  const config = argv.flatMap((word, at) => (word === '--config' ? [word, argv[at + 1] ?? ''] : word.startsWith('--config=') ? [word] : []))
  const as = (role: Role) => (share && redis ? { ...env, DROVER_REDIS_URL: share.localUrl(role, redis.socket) } : env)
  const start = (name: keyof typeof parts, options: Omit<PartOptions, 'name' | 'onLine' | 'patient'>): void => {
    signal.throwIfAborted()
    const onLine = (line: string): void => say(values.logFormat === 'json' ? line : `${name.padEnd(7)} | ${prettyLine(line)}`)
    const part = startPart({ name, onLine, patient: () => greeted, ...options })
    void part.givenUp.then((reason) => fail(reason, EXIT.failed))
    parts[name] = part
  }

  const run = async (): Promise<void> => {
    if (redis !== undefined) {
      start('redis', { file: redis.file, args: redis.args, env: { ...env, ...(owner && { [OWNER_PASSWORD]: owner }) }, stopLimitMs: REDIS_STOP_MS })
      await redisReady(redis.socket, share?.ownerLogin, signal, () => say('Redis is reading its file back…'))
    }
    let url = localUrl(values.host, values.port)
    start('gateway', {
      file: mainFile('gateway'),
      args: ['--host', values.host, '--port', `${values.port}`, '--files-dir', values.filesDir ?? join(data, 'files'), '--blobs-dir', values.blobsDir ?? join(data, 'blobs'), ...(sources.open === '--open' ? ['--open'] : []), ...config],
      env: as('gateway'),
      stopLimitMs: stopMs,
      onMessage: (message) => (url = readListening(message) ?? url),
    })
    if (values.worker) {
      const engine = sources.engine === '--engine' ? ['--engine', JSON.stringify(values.engine)] : []
      start('worker', { file: mainFile('worker'), args: [...engine, ...(own?.args ?? []), ...config], env: as('worker'), stopLimitMs: stopMs })
    }
    await gatewayReady(() => url, signal)
    const status = await firstStatus(() => readStatus({ url, apiKey: values.apiKey }), values.worker, signal).catch((error: unknown) => {
      // Keys have been made since, and this machine's owner may have none at hand: what is up is up.
      if (error instanceof KeyWanted) return undefined
      throw error
    })
    for (const line of status ? welcome({ url, keyed: values.apiKey !== undefined, worker: values.worker, status, own }) : keysOnly(url)) say(line)
    if (share && redis) {
      for (const line of invitation(share, values)) say(line)
      following = await share.follow(redis.socket, (host) => {
        say(`This machine has another address, so Redis is shared on ${host} now. To join from another machine:`)
        for (const line of share.lines('worker')) say(`  ${line}`)
      })
    }
    greeted = true
  }

  await run().catch((error: unknown) => {
    const { text, code } = farewell(error)
    fail(text, code)
  })
}

/** A gateway or worker that is to join elsewhere may have this in its environment; ours join here. */
const NOT_JOINING = { DROVER_JOIN: undefined, DROVER_JOIN_FILE: undefined, DROVER_DISCOVER: undefined, DROVER_JOIN_KEY: undefined, DROVER_JOIN_KEY_FILE: undefined }

/** The private Redis as others are to reach it. @throws ExitError when it cannot be shared, or is not ours */
const shared = async (asked: string, values: { sharePort: number; prefix: string; announce: boolean }, program: string | undefined, data: string, takenOver: boolean): Promise<Share> => {
  if (program === undefined) {
    const advice = 'make a user for each role there (docs/joining.md has the rules), and start the others with --redis-url'
    throw new ExitError(`--share is for the private Redis, and this one is your own, where Drover cannot add users: ${advice}`)
  }
  requireRoles(program)
  const share = prepareShare({ asked, port: values.sharePort, prefix: values.prefix, data, announced: values.announce })
  // A Redis that was left behind still listens there, until the guard of ours ends it.
  if (!takenOver) await portIsFree(share.bind, values.sharePort, 0, { host: '--share', port: '--share-port' })
  return share
}

/** What another machine types. It says a password, so it is printed for whoever asked for it, and is in no log. */
const invitation = (share: Share, { shareGateway, announce }: { shareGateway: boolean; announce: boolean }): string[] => [
  'To join from another machine (the line holds a password, so show it to nobody else):',
  ...share.lines('worker').map((line) => `  ${line}`),
  ...(shareGateway ? share.lines('gateway').map((line) => `  ${line}`) : []),
  ...(announce ? ['Or, on this network: npm run drover -- worker --discover, with the password of that line in DROVER_JOIN_KEY'] : []),
  '',
]

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
