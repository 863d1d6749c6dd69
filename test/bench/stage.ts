import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readListening } from '@drover/service'
import { spawnScriptedEngine, type ScriptedEngineProcess } from '../engine/spawn.ts'
import { startRedis, type RedisServer } from '../support/redis-server.ts'
import { startDrover, type Drover } from './drover.ts'
import { MODELS, modelName, type Aim } from './load.ts'
import { startLoadClient, type LoadClient } from './load-client.ts'
import { startPart, type Part } from './part.ts'
import { redisMeter } from './redis-meter.ts'

/** Everything that runs: Redis, engine, proxy, load client, and as many gateways and workers as are asked for. */
export interface Stage {
  redis: RedisServer
  meter: ReturnType<typeof redisMeter>
  engine: ScriptedEngineProcess
  proxy: Part
  client: LoadClient
  aim(url: string): Aim
  proxyUrl: string
  drover(dir: string, profileDir?: string): Promise<Drover>
  /** Starts a process that ends with the stage. */
  part(name: string, file: string, args: string[]): Part
  close(): Promise<void>
}

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))

/** What has been started ends with `close`, whenever that is called, and also when the stage cannot be opened. */
export const openStage = async (onClose: (close: () => Promise<void>) => void): Promise<Stage> => {
  const closers: (() => Promise<void>)[] = []
  let closed: Promise<void> | undefined
  const close = () =>
    (closed ??= (async () => {
      for (const end of closers.toReversed()) await end().catch(() => undefined)
    })())
  onClose(close)
  const add = (part: Part) => {
    closers.push(part.stop)
    return part
  }
  try {
    const redis = await startRedis()
    closers.push(redis.stop)
    const meter = redisMeter(redis)
    closers.push(async () => meter.close())
    const models = Array.from({ length: MODELS }, (_, i) => modelName(i))
    const engine = await spawnScriptedEngine({ kind: 'ollama', models, slots: 8192, maxLoaded: MODELS })
    closers.push(engine.close)
    // A pause between the engine's two readings makes the difference less, so the largest of several is the true one.
    const clocks = await Promise.all(Array.from({ length: 20 }, async () => (await engine.admin.stats()).clock))
    const engineEpoch = Math.max(...clocks.map(({ epochMs, monotonicMs }) => epochMs - monotonicMs))
    const proxy = add(startPart('proxy', here('proxy.ts'), { args: [engine.url] }))
    const proxyUrl = await proxy.word(readListening)
    const client = startLoadClient()
    add(client.part)
    return {
      redis,
      meter,
      engine,
      proxy,
      proxyUrl,
      client,
      aim: (url) => ({ url, engineEpoch }),
      drover(dir, profileDir) {
        if (profileDir !== undefined) mkdirSync(profileDir, { recursive: true })
        return startDrover({ dir, redisUrl: redis.url, engineUrl: engine.url, profileDir }, add)
      },
      part: (name, file, args) => add(startPart(name, here(file), { args })),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
