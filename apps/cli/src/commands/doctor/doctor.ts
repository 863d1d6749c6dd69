import { existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { styleText } from 'node:util'
import { withoutSecrets } from '@drover/broker'
import { EngineConfig, OLLAMA_PORTS } from '@drover/engines'
import { defineConfig, EXIT, loadConfig, redisSettings, setting } from '@drover/service'
import { z } from 'zod'
import { reasonOf } from '../../gateway-client.ts'
import { PROJECT } from '../../project.ts'
import { findProgram, LLAMA_SERVER, REDIS_SERVER } from '../../find-program.ts'
import { socketPath } from '../../up/data-folder.ts'
import { askRedis } from '../../up/redis-probe.ts'
import { jsonSetting } from '../client-settings.ts'
import { print, printJson } from '../output.ts'
import { type Check, fail, type Finding, runChecks, warn } from './check.ts'
import { checkEngines } from './engine-checks.ts'
import { checkDataFolder, checkGatewayPort, checkModelsFolder, checkNode, checkProgram } from './machine-checks.ts'
import { judgeRedis } from './redis-checks.ts'
import { askRedisAll, type RedisPlace } from './redis-facts.ts'

const doctorConfig = defineConfig('cli', {
  ...redisSettings,
  ...jsonSetting,
  data: setting({ schema: z.string().min(1).default(join(PROJECT, '.drover/data')), describe: 'the data folder of "drover up"', section: 'up' }),
  redisServer: setting({ schema: z.string().optional(), describe: 'the Redis program of "drover up"', section: 'up' }),
  host: setting({ schema: z.string().min(1).default('127.0.0.1'), describe: 'where the gateway listens', section: 'gateway' }),
  port: setting({ schema: z.int().min(0).max(65_535).default(11_435), describe: 'its port', section: 'gateway' }),
  engine: setting({ schema: z.array(EngineConfig).default([]), describe: 'engine of this node, by URL; may be given several times', section: 'worker' }),
  look: setting({ schema: z.boolean().default(true), describe: 'look for Ollama where it usually is', section: 'worker' }),
  ollamaHost: setting({ schema: z.string().optional(), describe: 'where else to look for Ollama', env: ['OLLAMA_HOST'], section: 'worker' }),
  llamaServer: setting({ schema: z.string().optional(), describe: 'the llama-server program, instead of the one found', section: 'worker' }),
  modelsDir: setting({ schema: z.string().optional(), describe: 'folder of GGUF files', section: 'worker' }),
})

/** The Redis to look at: the one named, else the private one of `drover up` if it runs, else the one at the usual place. */
const redisPlace = async (named: boolean, place: RedisPlace, data: string): Promise<RedisPlace> => {
  if (named || !existsSync(data)) return place
  const socket = socketPath(realpathSync(data), 'redis.sock')
  return (await askRedis(socket, 'PING')) === undefined ? place : { url: `unix:${socket}` }
}

interface RedisCheckOptions {
  named: boolean
  place: RedisPlace
  prefix: string
  data: string
  /** Whether `drover up` could start a private one. */
  startable: boolean
}

const checkRedis = async ({ named, place, prefix, data, startable }: RedisCheckOptions): Promise<Finding[]> => {
  const chosen = await redisPlace(named, place, data)
  const shown = withoutSecrets(chosen.url)
  const name = 'redis'
  try {
    const answers = await askRedisAll(chosen, prefix)
    return [{ name, state: 'ok', text: `answers at ${shown}` }, ...judgeRedis(answers)]
  } catch (error) {
    const text = `does not answer at ${shown} (${reasonOf(error)})`
    if (!named && startable) return [warn(name, text, '"drover up" starts a private one; or name yours with --redis-url')]
    return [fail(name, text, named ? 'start it, or correct --redis-url (DROVER_REDIS_URL)' : 'install redis-server or valkey-server, or name one with --redis-url')]
  }
}

const COLOURS = { ok: 'green', warn: 'yellow', fail: 'red' } as const

const findingLine = ({ name, state, text, step }: Finding): string =>
  `${styleText(COLOURS[state], state.padEnd(4), { stream: process.stdout })}  ${name}: ${text}${step === undefined ? '' : ` — ${step}`}`

/** `drover doctor`: what is there, what is wrong with it, and what to do. Exit code 1 when something failed. */
export const doctor = async (argv: readonly string[]): Promise<void> => {
  const { values, sources } = loadConfig(doctorConfig, { argv, usage: 'drover doctor [--json]' })
  const named = sources.redisUrl !== 'default'
  const redisServer = findProgram(values.redisServer, REDIS_SERVER, process.env['PATH'] ?? '')
  const place: RedisPlace = { url: values.redisUrl, ca: values.redisCa, sentinelPassword: values.sentinelPassword }
  const checks: Check[] = [
    { name: 'node', run: async () => checkNode() },
    { name: 'redis', run: () => checkRedis({ named, place, prefix: values.prefix, data: values.data, startable: redisServer !== undefined }) },
    {
      name: 'redis program',
      run: async () =>
        checkProgram({
          name: 'redis program',
          told: values.redisServer,
          program: REDIS_SERVER,
          without: '"drover up" cannot start a private one',
          step: '"npm start" unpacks one; or install redis-server or valkey-server',
        }),
    },
    { name: 'gateway port', run: () => checkGatewayPort(values.host, values.port) },
    {
      name: 'engines',
      run: (signal) =>
        checkEngines({ engines: values.engine, ports: values.look ? OLLAMA_PORTS : [], ...(values.look && { ollamaHost: values.ollamaHost }) }, signal),
    },
    {
      name: 'llama-server program',
      run: async () =>
        checkProgram({
          name: 'llama-server program',
          told: values.llamaServer,
          program: LLAMA_SERVER,
          without: 'GGUF files of a models folder cannot be served',
          step: '"npm start" unpacks one where it can; or put llama.cpp’s llama-server on PATH. With Ollama none is needed',
        }),
    },
    { name: 'models folder', run: () => checkModelsFolder(values.modelsDir, values.data) },
    { name: 'data folder', run: () => checkDataFolder(values.data) },
  ]
  const findings = await runChecks(checks)
  const failed = findings.some(({ state }) => state === 'fail')
  if (values.json) printJson({ ok: !failed, checks: findings.map(({ step = null, ...finding }) => ({ ...finding, step })) })
  else for (const finding of findings) print(findingLine(finding))
  if (failed) process.exitCode = EXIT.failed
}
