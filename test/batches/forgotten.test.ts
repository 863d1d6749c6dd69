import { setTimeout as sleep } from 'node:timers/promises'
import { openGateway } from '@drover/broker'
import { almighty, LOCAL, type BatchSpec } from '@drover/core'
import { expect, test } from 'vitest'
import { startRedis } from '../support/redis-server.ts'

/** Longer than a Redis that lives may forget what it has answered, ms. */
const AWAY_MS = 3_200
const caller = almighty(LOCAL)
const spec: BatchSpec = {
  view: 'openai', endpoint: '/v1/chat/completions', dialect: 'openai.chat', input: 'file-1', inputParts: [['file-1', 1]], output: 'o', errors: 'e', window: '24h', metadata: null, filesKeepMs: 60_000, seed: 's',
}

test('what was told of files and batches just before Redis was killed is told again, however long it was away', async () => {
  // It writes nothing down, so it forgets everything.
  await using redis = await startRedis({ args: ['--appendonly', 'no'] })
  const broker = await openGateway('test', { url: redis.url, laneLimit: 10, onError: () => undefined })
  try {
    const { files, batches, claims } = broker
    await files.add({ id: 'file-1', owner: LOCAL, purpose: 'batch', name: 'in.jsonl', bytes: 1, store: 'here', parts: [['file-1', 1]], expiresMs: undefined })
    expect(await claims.claim({ name: 'key', fingerprint: 'request', id: 'batch-1', keepMs: 60_000 })).toBe('batch-1')
    expect(await batches.add('batch-1', caller, spec, 60_000)).toBe('added')
    expect(await batches.cancel('batch-1', caller)).toBe('cancelling')
    await redis.kill()
    await sleep(AWAY_MS)
    await redis.restart()
    await expect.poll(async () => (await batches.get('batch-1', caller))?.state, { timeout: 10_000 }).toBe('cancelling')
    expect(await files.get('file-1', caller)).toMatchObject({ id: 'file-1', name: 'in.jsonl' })
    expect(await claims.claim({ name: 'key', fingerprint: 'request', id: 'batch-2', keepMs: 60_000 })).toBe('batch-1')
    // Whoever runs batches finds it.
    expect(await batches.claim('token', 'here')).toMatchObject({ id: 'batch-1' })
  } finally {
    await broker.close()
  }
})
