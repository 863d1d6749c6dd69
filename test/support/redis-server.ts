import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Passwords, type Role, userFile } from '@drover/broker/roles'
import { findProgram, freePort, startProgram, type Program } from './program.ts'

export interface RedisOptions {
  /** A TCP port of 127.0.0.1 instead of a unix socket. */
  tcp?: boolean
  /** Another address of this machine for that port, which others reach: then everybody needs a password. */
  host?: string
  /** With a user for each role, as `drover up --share` makes them, for prefixes of tests; who says no name may still do everything. */
  roles?: boolean
  /** More of its options, as `['--maxmemory', '64mb']`; they win over those set here. */
  args?: string[]
}

export interface RedisServer extends AsyncDisposable {
  /** `unix:/path/to.sock` or `redis://127.0.0.1:port`, with the password where there is one; the same after a restart. */
  url: string
  /** With `roles`: the URL by which a role comes in. */
  urlFor?: (role: Role) => string
  /** The same for ioredis and BullMQ. */
  connection: Address
  /** Data folder. */
  dir: string
  readonly pid: number
  signal(name: NodeJS.Signals): void
  /** SIGKILL; resolves when the process is gone. The data folder stays. */
  kill(): Promise<void>
  /** Up again on the same data and address, SIGKILL first when it still runs; resolves when it answers. */
  restart(): Promise<void>
  /** Ends it and removes its data. */
  stop(): Promise<void>
}

export const redisServerPath = (): string | undefined =>
  findProgram('DROVER_REDIS_SERVER', ['redis-server', 'valkey-server'], '.drover/redis/bin/redis-server')

const START_MS = 20_000
const PASSWORDS: Passwords = { owner: 'owner-of-the-test', gateway: 'gateway-of-the-test', worker: 'worker-of-the-test' }
/** What `Installation` calls its prefixes. */
const TEST_PREFIXES = '{t*}'

/** Redis 6 cannot say what roles may do. */
const hasSelectors = (program: string): boolean => Number(/v=(\d+)\./.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? 7) >= 7

type Address = { path: string } | { host: string; port: number; password?: string }

/** Whether it answers PING; while it reads its data back it does not yet. */
const answers = async (address: Address): Promise<boolean> => {
  const socket = connect(address)
  try {
    socket.write('password' in address ? `AUTH ${address.password}\r\nPING\r\n` : 'PING\r\n')
    const [reply] = (await once(socket, 'data', { signal: AbortSignal.timeout(1000) })) as [Buffer]
    return reply.toString().includes('+PONG')
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/**
 * A private Redis (or Valkey) with AOF and `noeviction`, as Drover wants it, in a temporary folder of its own.
 * @throws Error that names what is missing when there is no such program
 */
export const startRedis = async ({ tcp = false, host, roles = false, args = [] }: RedisOptions = {}): Promise<RedisServer> => {
  const found = redisServerPath()
  if (!found) {
    const ways = 'set DROVER_REDIS_SERVER, put one on PATH, or run deploy/setup/install-redis.sh .drover/redis'
    throw new Error(`no redis-server or valkey-server: ${ways}`)
  }
  const dir = await mkdtemp(join(tmpdir(), 'drover-redis-'))
  const password = host === undefined ? undefined : PASSWORDS.owner
  const address: Address = tcp ? { host: host ?? '127.0.0.1', port: await freePort(), ...(password !== undefined && { password }) } : { path: join(dir, 'redis.sock') }
  const listen = 'path' in address
    ? ['--port', '0', '--unixsocket', address.path, '--unixsocketperm', '700']
    : ['--port', String(address.port), '--bind', address.host]
  const withRoles = roles && hasSelectors(found)
  const users = join(dir, 'users.acl')
  if (withRoles) await writeFile(users, userFile(PASSWORDS, TEST_PREFIXES).replace('user default reset off', `user default on ${password === undefined ? 'nopass' : `>${password}`} ~* &* +@all`))
  const settings = [
    ...(withRoles ? ['--aclfile', users] : password === undefined ? [] : ['--requirepass', password]),
    '--dir', dir, '--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '', '--maxmemory-policy', 'noeviction',
    '--auto-aof-rewrite-min-size', '256mb',
    '--daemonize', 'no', ...listen, ...args,
  ]

  const up = async (): Promise<Program> => {
    const program = await startProgram(found, settings)
    const limit = Date.now() + START_MS
    while (!(await answers(address))) {
      if (program.running() && Date.now() < limit) {
        await sleep(10)
        continue
      }
      program.signal('SIGKILL')
      throw new Error(`${found} does not come up: ${program.log().trim().split('\n').slice(-3).join(' | ')}`)
    }
    return program
  }

  let program = await up()
  const end = async (signal: NodeJS.Signals) => {
    program.signal(signal)
    await program.exited
  }
  const stop = async () => {
    await end('SIGTERM')
    await rm(dir, { recursive: true, force: true })
  }
  return {
    url: 'path' in address ? `unix:${address.path}` : `redis://${password === undefined ? '' : `:${password}@`}${address.host}:${address.port}`,
    ...(withRoles && { urlFor: (role: Role) => ('path' in address ? `unix://${role}:${PASSWORDS[role]}@${address.path}` : `redis://${role}:${PASSWORDS[role]}@${address.host}:${address.port}`) }),
    connection: address,
    dir,
    get pid() {
      return program.pid
    },
    signal: (name) => program.signal(name),
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGKILL')
      program = await up()
    },
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** The file to which a Redis appends; before Redis 7 it is the only one of its kind. */
export const appendedTo = (dir: string): string => {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) => /\.incr\.aof$|(^|\/)appendonly\.aof$/.test(name))
  const [last] = names.toSorted((a, b) => statSync(join(dir, b)).mtimeMs - statSync(join(dir, a)).mtimeMs)
  if (last === undefined) throw new Error(`no append-only file in ${dir}`)
  return join(dir, last)
}
