/**
 * What it costs to know who makes a request: 1,000 keys in a private Redis, 200 requests a second for some seconds, through the gateway's own check,
 * while one key a second is changed. Run by hand: `node test/keys/check-cost.ts [--keys 1000] [--seconds 10]`
 */
import { parseArgs } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { openGateway } from '@drover/broker'
import { KeyWish } from '@drover/core'
import { access } from '../../apps/gateway/src/access.ts'
import { checkScope } from '../../apps/gateway/src/keys/scopes.ts'
import { startRedis } from '../support/redis-server.ts'

const { values } = parseArgs({ options: { keys: { type: 'string', default: '1000' }, seconds: { type: 'string', default: '10' }, rate: { type: 'string', default: '200' } } })
const [count, seconds, rate] = [Number(values.keys), Number(values.seconds), Number(values.rate)]

const wish = (name: string) => KeyWish.parse({ name, models: ['llama*', 'qwen3:*'], limits: { requests_per_minute: 100 } })

const redis = await startRedis()
const gateway = await openGateway('cost', { url: redis.url, laneLimit: 1, onError: (error) => console.error(error) })
try {
  const entrance = access({ host: '127.0.0.1', apiKey: 'an-operator-has-one', open: false, keys: gateway.apiKeys, origins: [] })
  const made = await Promise.all(Array.from({ length: count }, (_, i) => gateway.keyChanges.add(wish(`key ${i}`), entrance)))
  const took: number[] = []
  const changing = setInterval(() => void gateway.keyChanges.rotate(made[0]!.key.id, 0).catch(console.error), 1_000)
  const begun = performance.now()
  for (let i = 0; i < rate * seconds; i += 1) {
    const { text } = made[1 + (i % (count - 1))]!
    const at = performance.now()
    checkScope(entrance.identify({ host: undefined, origin: undefined, apiKey: undefined, authorization: `Bearer ${text}` }), '/v1/chat/completions')
    took.push(performance.now() - at)
    await sleep(Math.max(0, begun + ((i + 1) * 1_000) / rate - performance.now()))
  }
  clearInterval(changing)
  took.sort((a, b) => a - b)
  const at = (share: number) => `${(took[Math.min(took.length - 1, Math.floor(share * took.length))]! * 1_000).toFixed(0)} µs`
  console.log(`${count} keys, ${rate} checks a second for ${seconds} s: p50 ${at(0.5)}, p99 ${at(0.99)}, longest ${at(1)}`)
} finally {
  await gateway.close()
  await redis.stop()
}
