import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { withAdvice } from './advice.mjs'
import { collect } from './child.mjs'
import { Interrupted, SetupError, megabytes, step } from './say.mjs'
import { bytesBelow } from './size.mjs'

const REDIS = '.drover/redis'
const LLAMA_CPP = '.drover/llama.cpp'

const executable = (path) => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const onPath = (...names) =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .filter(Boolean)
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .find(executable)

/** `KEY=VALUE` lines. */
const readKeys = (output) => Object.fromEntries([...output.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, key, value]) => [key, value]))

const read = (path) => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** How far apt has come, by what lies in the work folder of `private-apt.sh`. */
const fetched = (folder) => () => {
  const work = join(folder, '.work')
  const total = read(join(work, 'download-bytes'))
  if (total === undefined) return `${megabytes(bytesBelow(join(work, 'apt/lists')))} of package lists`
  return `${megabytes(bytesBelow(join(work, 'apt/cache/archives')))} of ${megabytes(Number(total))} of packages`
}

/** Unpacks packages of this machine's distribution into the project. Says what came of it: keys, or the reason why not. */
const unpack = async (what, script, folder) => {
  const missing = ['apt-get', 'dpkg-deb', 'bash'].filter((tool) => !onPath(tool))
  if (missing.length > 0) return { reason: `this is no Debian-like system to unpack packages from (no ${missing.join(', ')})` }
  const install = async () => {
    const { code, stdout, lastWords } = await collect('bash', [join('deploy/setup', script), folder])
    if (code !== 0) throw new SetupError(withAdvice(lastWords || `${script} ended with exit code ${code}`))
    return { keys: readKeys(stdout) }
  }
  // The script knows by itself whether its work is done already, and checks that the programs still run.
  const quick = existsSync(join(folder, 'packages.txt'))
  try {
    return await (quick ? install() : step(`unpacking ${what} from this system’s packages`, install, fetched(folder)))
  } catch (error) {
    if (error instanceof SetupError && !(error instanceof Interrupted)) return { reason: error.message }
    throw error
  }
}

/** A program, `{ path }`, or why there is none, `{ reason }`. `work` runs while no other set-up does. */
export const redisServer = async (work) => {
  const made = resolve(REDIS, 'bin/redis-server')
  const named = process.env.DROVER_REDIS_SERVER
  const path = named || onPath('valkey-server', 'redis-server') || (executable(made) && made)
  if (path) return { path }
  const { keys, reason } = await work(() => unpack('Redis', 'install-redis.sh', REDIS))
  return keys?.REDIS_SERVER ? { path: keys.REDIS_SERVER } : { reason }
}

const onSearchPath = () => {
  const path = onPath('llama-server')
  return path ? { path, rpc: onPath('rpc-server', 'ggml-rpc-server') } : undefined
}

/** As `redisServer`, with `rpc` beside the path where there is one. The unpacked one first: it is the one that the tests know. */
export const llamaServer = async (work) => {
  const named = process.env.DROVER_LLAMA_SERVER
  if (named) return { path: named, rpc: process.env.DROVER_RPC_SERVER }
  const { keys, reason } = await work(() => unpack('llama.cpp', 'install-llama-cpp.sh', LLAMA_CPP))
  return keys?.LLAMA_SERVER ? { path: keys.LLAMA_SERVER, rpc: keys.RPC_SERVER } : (onSearchPath() ?? { reason })
}

/** The llama-server to be had without doing anything: named, this machine's own, or unpacked before; else `undefined`. */
export const llamaServerAtHand = () => {
  const named = process.env.DROVER_LLAMA_SERVER
  if (named) return { path: named, rpc: process.env.DROVER_RPC_SERVER }
  const folder = resolve(LLAMA_CPP)
  const path = join(folder, 'bin/llama-server')
  // The unpacked programs know their folder: in a project that was moved they are not whole.
  const unpacked = executable(path) && existsSync(join(folder, 'packages.txt')) && read(join(folder, '.prefix')) === folder
  return onSearchPath() ?? (unpacked ? { path, rpc: join(folder, 'bin/rpc-server') } : undefined)
}
