import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { collect } from './child.mjs'
import { step } from './say.mjs'

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

/** Unpacks packages of this machine's distribution into the project. Says what came of it: keys, or the reason why not. */
const unpack = async (what, script, folder) => {
  const missing = ['apt-get', 'dpkg-deb', 'bash'].filter((tool) => !onPath(tool))
  if (missing.length > 0) return { reason: `this is no Debian-like system to unpack packages from (no ${missing.join(', ')})` }
  // The script knows by itself whether its work is done already, and checks that the programs still run.
  const install = () => collect('bash', [join('deploy/setup', script), folder])
  const quick = existsSync(join(folder, 'packages.txt'))
  const { code, stdout, lastWords } = quick ? await install() : await step(`unpacking ${what} from this system’s packages`, install)
  return code === 0 ? { keys: readKeys(stdout) } : { reason: lastWords || `${script} ended with exit code ${code}` }
}

/** A program, `{ path }`, or why there is none, `{ reason }`. `work` runs while no other set-up does. */
export const redisServer = async (work) => {
  const made = resolve('.drover/redis/bin/redis-server')
  const named = process.env.DROVER_REDIS_SERVER
  const path = named || onPath('valkey-server', 'redis-server') || (executable(made) && made)
  if (path) return { path }
  const { keys, reason } = await work(() => unpack('Redis', 'install-redis.sh', '.drover/redis'))
  return keys?.REDIS_SERVER ? { path: keys.REDIS_SERVER } : { reason }
}

/** As `redisServer`, with `rpc` beside the path where there is one. */
export const llamaServer = async (work) => {
  const named = process.env.DROVER_LLAMA_SERVER
  if (named) return { path: named, rpc: process.env.DROVER_RPC_SERVER }
  const { keys, reason } = await work(() => unpack('llama.cpp', 'install-llama-cpp.sh', '.drover/llama.cpp'))
  if (keys?.LLAMA_SERVER) return { path: keys.LLAMA_SERVER, rpc: keys.RPC_SERVER }
  const path = onPath('llama-server')
  return path ? { path, rpc: onPath('rpc-server', 'ggml-rpc-server') } : { reason }
}
