/**
 * `npm start`, `npm test`, `npm run drover`, `npm run bench`, `npm run bench:cluster`, `npm run bench:copies` and `npm run faults`: brings what is missing into the project (.drover and node_modules, nothing else),
 * then runs the thing itself. Plain JavaScript for any Node from 20 on, with nothing installed.
 */
import { mkdirSync } from 'node:fs'
import { delimiter, dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withAdvice } from './advice.mjs'
import { forwardSignals, run } from './child.mjs'
import { dependencies } from './dependencies.mjs'
import { whyNoLlama } from './engine.mjs'
import { alone } from './lock.mjs'
import { installNode, nodeAtHand } from './node.mjs'
import { llamaServer, llamaServerAtHand, redisServer } from './programs.mjs'
import { SetupError, say } from './say.mjs'
import { testRun } from './test-run.mjs'

const from = process.cwd()
const [task = '', ...args] = process.argv.slice(2)
process.chdir(fileURLToPath(new URL('../../', import.meta.url)))

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

const program = 'apps/cli/src/main.ts'

/** Node keeps here what it makes of the sources: every process of ours starts in half the time from the second start on. */
const compileCache = () => process.env.NODE_COMPILE_CACHE || resolve('.drover/compiled')

/** Where a worker will run: a llama-server for it, unless it has another engine. */
const llamaFor = async (words) => {
  const atHand = llamaServerAtHand()
  if (atHand) return atHand
  const other = await whyNoLlama(words, from)
  if (other) say(`no llama-server is unpacked: ${other}`)
  const { path, rpc, reason } = other ? {} : await llamaServer(exclusively)
  if (reason) say(`no llama-server could be had: ${reason}\n  Going on without: another engine may be found, or named with --engine.`)
  return { path, rpc }
}

/** Runs `drover …` with the programs that the command starts by itself. */
const drover = async (node, words) => {
  const gives = (...flags) => words.some((word) => flags.includes(word.split('=')[0]))
  const starts = (command) => words[0] === command && !gives('--help', '-h')
  const ownRedis = process.env.REDIS_URL || process.env.DROVER_REDIS_URL || gives('--redis-url')
  const redis = starts('up') && !ownRedis ? await redisServer(exclusively) : {}
  // Not yet the end: the configuration file may name a Redis, and `up` says what to do when nothing does.
  if (redis.reason) say(`no Redis could be had: ${redis.reason}`)
  const llama = starts('worker') || (starts('up') && !gives('--no-worker')) ? await llamaFor(words) : {}
  const env = environment(node, {
    DROVER_REDIS_SERVER: redis.path,
    DROVER_LLAMA_SERVER: llama.path,
    DROVER_RPC_SERVER: llama.rpc,
    NODE_COMPILE_CACHE: compileCache(),
  })
  return run(node, [...FLAGS, resolve(program), ...words], { cwd: from, env, ipc: true })
}

/** Runs a program of ours that starts a Redis by itself. */
const withRedis = async (node, what, main, more = {}) => {
  const redis = await redisServer(exclusively)
  if (!redis.path) throw new SetupError(`${what} needs Redis, which could not be had: ${redis.reason}`)
  return run(node, [...FLAGS, resolve(main), ...args], { cwd: from, env: environment(node, { DROVER_REDIS_SERVER: redis.path, ...more }) })
}

/** The same, and it starts a llama.cpp. */
const withLlama = async (node, what, main) => {
  const llama = await llamaServer(exclusively)
  if (!llama.path) throw new SetupError(`${what} needs llama.cpp, which could not be had: ${llama.reason}`)
  return withRedis(node, what, main, { DROVER_LLAMA_SERVER: llama.path, DROVER_RPC_SERVER: llama.rpc })
}

const tasks = {
  drover: (node) => drover(node, args),
  start: (node) => drover(node, ['up', ...args]),
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
  bench: (node) => withRedis(node, 'the benchmark', 'test/bench/main.ts'),
  'bench:cluster': (node) => withLlama(node, 'the benchmark', 'test/bench/cluster/main.ts'),
  'bench:copies': (node) => withRedis(node, 'the benchmark', 'test/bench/copies/main.ts'),
  faults: (node) => withRedis(node, 'the fault campaign', 'test/campaign/main.ts'),
}

const main = async () => {
  const run = tasks[task]
  if (run === undefined) throw new SetupError(`usage: run.mjs ${Object.keys(tasks).join('|')} [arguments]`)
  forwardSignals()
  mkdirSync('.drover', { recursive: true })
  await ensure(nodeAtHand, installNode)
  const { atHand, install } = dependencies({ all: ['test', 'bench', 'bench:cluster', 'bench:copies', 'faults'].includes(task) })
  await ensure(atHand, install)
  return run(nodeAtHand())
}

process.exitCode = await main().catch((error) => {
  // What the system refuses has a code and a path in its message; anything else is ours to correct.
  say(error instanceof SetupError ? error.message : error.syscall ? withAdvice(`the set-up failed: ${error.message}`) : error.stack)
  return error.exitCode ?? 1
})
