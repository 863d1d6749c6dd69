import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, ExitError, createLog, onShutdown, runMain } from '@drover/service'
import { OWNER_PASSWORD } from './redis-owner.ts'
import { type RedisLogin, askRedis } from './redis-probe.ts'

/**
 * Runs a Redis that ends when our parent does, be it by `kill -9`, which Redis alone would not notice.
 * Arguments: the socket, the Redis program, its arguments. In the environment,
 * if it is there: the password that a Redis that was shared asks of its owner.
 */
const main = async (): Promise<void> => {
  const [socket = '', program = '', ...args] = process.argv.slice(2)
  const log = createLog({ app: 'redis', logLevel: 'warn' })
  const { [OWNER_PASSWORD]: password, ...env } = process.env
  await endOrphan(socket, password === undefined ? undefined : { user: 'owner', password })

  const redis = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'], env })
  const exited = once(redis, 'exit').then(([code, signal]: unknown[]) => ({ code, signal }))
  exited.catch(() => undefined)

  const stop = async (): Promise<void> => {
    // Gateway and worker have lost their parent as well: what they still give back must find Redis alive.
    if (shutdown.signal.reason === 'parent gone') await sleep(3_500)
    redis.kill('SIGTERM')
    const kill = setTimeout(() => redis.kill('SIGKILL'), 8_000)
    await exited
    clearTimeout(kill)
  }
  const shutdown = onShutdown([{ name: 'redis', limitMs: 15_000, run: stop }], { log, orphanLimitMs: 15_000 })

  const ended = await exited.catch((error: Error) => {
    throw new ExitError(`${program} cannot be started: ${error.message}`)
  })
  if (!shutdown.signal.aborted) throw new ExitError(`Redis ended by itself (${ended.signal ?? `exit code ${ended.code}`})`, EXIT.failed)
}

/** A Redis on our socket was left behind by a guard that was killed; two on one folder would destroy its file. */
const endOrphan = async (socket: string, login: RedisLogin | undefined): Promise<void> => {
  for (let tries = 0; tries < 100; tries += 1) {
    if ((await askRedis(socket, 'SHUTDOWN', { login })) === undefined) return
    await sleep(100)
  }
  throw new ExitError(`a Redis that does not end listens on ${socket}: end it, then start again`)
}

runMain(main)
