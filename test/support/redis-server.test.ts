import { access } from 'node:fs/promises'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { startRedis } from './redis-server.ts'

test.for([{ tcp: false }, { tcp: true }, { tcp: true, host: '127.0.0.1' }, { tcp: true, host: '127.0.0.1', roles: true }])('a private Redis keeps its data and address over a kill: %o', async (options) => {
  const server = await startRedis(options)
  onTestFinished(() => server[Symbol.asyncDispose]())
  const redis = new Redis({ ...server.connection, retryStrategy: () => 20, maxRetriesPerRequest: null })
  redis.on('error', () => {}) // it is about to be killed
  try {
    await redis.set('kept', 'yes')
    expect((await redis.config('GET', 'maxmemory-policy')) as string[]).toEqual(['maxmemory-policy', 'noeviction'])
    expect((await redis.config('GET', 'appendonly')) as string[]).toEqual(['appendonly', 'yes'])
    const { pid, url } = server
    const stranger = new Redis(url.replace(/:[^:@/]+@/, ''), { retryStrategy: null, maxRetriesPerRequest: 0 })
    stranger.on('error', () => {}) // it is refused before it asks
    if ('host' in options) await expect(stranger.ping()).rejects.toThrow('NOAUTH')
    stranger.disconnect()
    await server.kill()
    await server.restart()
    expect(await redis.get('kept')).toBe('yes')
    expect(server.pid).not.toBe(pid)
    expect(server.url).toBe(url)
  } finally {
    redis.disconnect()
  }
  const { dir } = server
  await server.stop()
  await expect(access(dir)).rejects.toThrow('ENOENT')
})

test('a wrong program is named', async () => {
  const before = process.env['DROVER_REDIS_SERVER']
  process.env['DROVER_REDIS_SERVER'] = '/nowhere/redis-server'
  try {
    await expect(startRedis()).rejects.toThrow('/nowhere/redis-server cannot be started')
    process.env['DROVER_REDIS_SERVER'] = process.execPath
    await expect(startRedis()).rejects.toThrow('does not come up')
  } finally {
    if (before === undefined) delete process.env['DROVER_REDIS_SERVER']
    else process.env['DROVER_REDIS_SERVER'] = before
  }
})
