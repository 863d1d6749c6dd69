import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { readListening } from '@drover/service'
import { statusOf, until } from '../support/drover.ts'
import { MODELS } from './load.ts'
import { startPart, type Part } from './part.ts'

export interface DroverOptions {
  /** The checkout whose gateway and worker run. */
  dir: string
  redisUrl: string
  engineUrl: string
  /** Where the processes leave a CPU profile when they end. */
  profileDir?: string | undefined
}

/** One gateway and one worker of one checkout, with a prefix of their own. */
export interface Drover {
  url: string
  gateway: Part
  worker: Part
  /** Resolves when no job waits or runs. */
  quiet(): Promise<void>
  stop(): Promise<void>
}

/** Most slots that a worker's configuration takes for one model. */
export const SLOTS = 1024

export const startDrover = async ({ dir, redisUrl, engineUrl, profileDir }: DroverOptions, started: (part: Part) => void): Promise<Drover> => {
  const prefix = `{b${randomBytes(6).toString('hex')}}`
  const common = { DROVER_REDIS_URL: redisUrl, DROVER_PREFIX: prefix, DROVER_LOG_FORMAT: 'json' }
  const part = (name: 'gateway' | 'worker', env: Record<string, string>, args: string[] = []) => {
    const profile = profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`, `--cpu-prof-name=${name}.cpuprofile`]
    const node = ['--max-semi-space-size=4', '--import', new URL('settle.ts', import.meta.url).href, ...profile]
    const it = startPart(name, join(dir, 'apps', name, 'src', 'main.ts'), { node, args, env: { ...common, ...env } })
    started(it)
    return it
  }
  const gateway = part('gateway', { DROVER_PORT: '0' })
  const url = await gateway.word(readListening)
  const engine = JSON.stringify({ url: engineUrl, kind: 'ollama', slots: SLOTS, maxLoaded: MODELS })
  const worker = part('worker', { DROVER_NODE: `n${randomBytes(4).toString('hex')}`, DROVER_LOOK: 'false' }, ['--engine', engine])
  await until('the worker is known to the gateway', async () => {
    if (!worker.running()) throw new Error(`the worker has ended: ${worker.log()}`)
    return (await statusOf(url)).nodes.some(({ engines }) => engines.some(({ models }) => models.length >= MODELS))
  })
  return {
    url,
    gateway,
    worker,
    quiet: () =>
      until('no job runs', async () => {
        const { gateway: facts, lanes } = await statusOf(url)
        return facts.open_answers === 0 && lanes.every(({ waiting, running }) => waiting === 0 && running === 0)
      }, 30_000),
    async stop() {
      await worker.stop()
      await gateway.stop()
    },
  }
}
