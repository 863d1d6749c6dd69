import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, ExitError } from '@drover/service'
import { findProgram, REDIS_SERVER } from '../find-program.ts'
import { socketPath } from './data-folder.ts'
import { type RedisLogin, askRedis } from './redis-probe.ts'

/** The Redis program. @throws ExitError with the next step when there is none */
export const findRedis = (named: string | undefined, searchPath: string): string => {
  const found = findProgram(named, REDIS_SERVER, searchPath)
  if (found !== undefined) return found
  if (named !== undefined) throw new ExitError(`${named} is no program that can be run: correct --redis-server`)
  throw new ExitError('no Redis found: install redis-server or valkey-server, or name a running one with --redis-url or REDIS_URL')
}

/** @throws ExitError when the program is too old to be shared: what roles may do is said in a form that Redis 7 brought */
export const requireRoles = (program: string): void => {
  const said = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 5_000 }).stdout ?? ''
  const major = Number(/v=(\d+)\./.exec(said)?.[1] ?? 7)
  if (major < 7) throw new ExitError(`${program} is Redis ${major}, and --share needs Redis 7 or newer, or Valkey: name one with --redis-server`)
}

/**
 * How the guard is told to run a private Redis: reached by a socket of the owner alone, every write kept, nothing evicted.
 * `first`: what its arguments begin with, a file that says how it is shared.
 */
export const privateRedis = (program: string, data: string, first?: readonly string[]): { url: string; socket: string; file: string; args: string[] } => {
  const socket = socketPath(data, 'redis.sock')
  const folder = join(data, 'redis')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const settings = {
    ...(first === undefined && { port: '0' }),
    unixsocket: socket,
    unixsocketperm: '700',
    dir: folder,
    appendonly: 'yes',
    appendfsync: 'everysec',
    save: '',
    'maxmemory-policy': 'noeviction',
    // A rewrite forks and takes a core for a while; streams write a few megabytes a second, so the default of 64 MB comes round too soon.
    'auto-aof-rewrite-min-size': '256mb',
    loglevel: 'warning',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const file = fileURLToPath(new URL('redis-guard.ts', import.meta.url))
  return { url: `unix:${socket}`, socket, file, args: [socket, program, ...(first ?? []), ...args] }
}

/** Waits until Redis takes commands; reading a large file back takes a while, and `onLoading` hears of it once. */
export const redisReady = async (socket: string, login: RedisLogin | undefined, signal: AbortSignal, onLoading: () => void): Promise<void> => {
  const silentUntil = performance.now() + 20_000
  let told = false
  for (;;) {
    const answer = await askRedis(socket, 'PING', { login })
    if (answer === '+PONG') return
    if (answer?.startsWith('-LOADING') && !told) onLoading()
    told ||= answer?.startsWith('-LOADING') ?? false
    if (!told && performance.now() > silentUntil) throw new ExitError(`Redis does not answer on ${socket}`, EXIT.failed)
    await sleep(50, undefined, { signal })
  }
}
