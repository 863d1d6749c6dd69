/**
 * `npm start`, `npm test`, `npm run drover` and `npm run bench`: brings what is missing into the project (.drover and node_modules, nothing else),
 * then runs the thing itself. Plain JavaScript for any Node from 20 on, with nothing installed.
 */
import { mkdirSync } from 'node:fs'
import { delimiter, dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forwardSignals, run } from './child.mjs'
import { dependenciesAtHand, installDependencies } from './dependencies.mjs'
import { alone } from './lock.mjs'
import { installNode, nodeAtHand } from './node.mjs'
import { llamaServer, redisServer } from './programs.mjs'
import { SetupError, say } from './say.mjs'
import { testRun } from './test-run.mjs'

const from = process.cwd()
const [task = '', ...args] = process.argv.slice(2)
process.chdir(fileURLToPath(new URL('../../', import.meta.url)))
mkdirSync('.drover', { recursive: true })

const exclusively = (work) => alone('.drover/setup.sock', work)

/** Looks first without the lock, so that a set-up that is complete costs nothing, and again with it. */
const ensure = async (atHand, install) => {
  if (!atHand()) await exclusively(async () => (atHand() ? undefined : install()))
}

const environment = (node, extra) => {
  const given = Object.entries(extra).filter(([, value]) => value)
  const folders = [node === process.execPath ? '' : dirname(node), process.env.PATH]
  return { ...process.env, PATH: folders.filter(Boolean).join(delimiter), ...Object.fromEntries(given) }
}

/**
 * Drover makes next to nothing but short-lived strings, and V8 lets their space grow to over 100 MB under load: with 4 MB for each half
 * a worker with 500 streams needs 20 MB less, and works no slower.
 */
const FLAGS = ['--max-semi-space-size=4']

const tasks = {
  drover: (node) => run(node, [...FLAGS, resolve('apps/cli/src/main.ts'), ...args], { cwd: from, env: environment(node, {}), ipc: true }),
  start: async (node) => {
    const own = process.env.REDIS_URL || process.env.DROVER_REDIS_URL || args.some((word) => /^--(redis-url|help)(=|$)/.test(word))
    const redis = own ? {} : await redisServer(exclusively)
    // Not yet the end: the configuration file may name a Redis, and `up` says what to do when nothing does.
    if (redis.reason) say(`no Redis could be had: ${redis.reason}`)
    const env = environment(node, { DROVER_REDIS_SERVER: redis.path })
    return run(node, [...FLAGS, resolve('apps/cli/src/main.ts'), 'up', ...args], { cwd: from, env, ipc: true })
  },
  test: async (node) => {
    const redis = await redisServer(exclusively)
    const llama = await llamaServer(exclusively)
    const missing = [
      ...(redis.path ? [] : [`skipped: everything that needs Redis, which could not be had: ${redis.reason}`]),
      ...(llama.path ? [] : [`skipped: everything against a real llama.cpp, which could not be had: ${llama.reason}`]),
    ]
    for (const line of missing) say(line)
    const env = environment(node, { DROVER_REDIS_SERVER: redis.path, DROVER_LLAMA_SERVER: llama.path, DROVER_RPC_SERVER: llama.rpc })
    return testRun({ node, env, args, strict: process.env.CI === 'true', missing })
  },
  bench: async (node) => {
    const redis = await redisServer(exclusively)
    if (!redis.path) throw new SetupError(`the benchmark needs Redis, which could not be had: ${redis.reason}`)
    return run(node, [...FLAGS, resolve('test/bench/main.ts'), ...args], { cwd: from, env: environment(node, { DROVER_REDIS_SERVER: redis.path }) })
  },
}

const main = async () => {
  const run = tasks[task]
  if (run === undefined) throw new SetupError(`usage: run.mjs ${Object.keys(tasks).join('|')} [arguments]`)
  forwardSignals()
  await ensure(nodeAtHand, installNode)
  await ensure(dependenciesAtHand, installDependencies)
  return run(nodeAtHand())
}

process.exitCode = await main().catch((error) => {
  say(error instanceof SetupError ? error.message : error.stack)
  return 1
})
