import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { contentLost, storeUnavailable } from './content-store.ts'
import { storeHealth } from './store-health.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const store = () => {
  const told: string[] = []
  const use = storeHealth({
    explain: async (error) => ((error as Error).message === 'gone' ? contentLost() : storeUnavailable(error)),
    onDown: (reason) => void told.push(`down: ${(reason as Error).message}`),
    onUp: () => void told.push('up'),
  })
  const fails = (message: string) => use(async () => { throw new Error(message) }).catch((error: { code: string }) => error.code)
  const does = () => use(async () => 'done')
  return { told, fails, does }
}

test('that it cannot be used, and can be again, is told once each, however often it is tried', async () => {
  const { told, fails, does } = store()
  expect(await does()).toBe('done')
  for (let i = 0; i < 5; i += 1) expect(await fails('disk full')).toBe('store_unavailable')
  vi.advanceTimersByTime(5_000)
  await does()
  await does()
  expect(told).toEqual(['down: disk full', 'up'])
})

test('what can still be read while nothing can be written does not make it usable', async () => {
  const { told, fails, does } = store()
  for (let i = 0; i < 20; i += 1) {
    await fails('disk full')
    vi.advanceTimersByTime(1_000)
    await does()
  }
  expect(told).toEqual(['down: disk full'])
})

test('content that is gone says nothing of the store', async () => {
  const { told, fails } = store()
  expect(await fails('gone')).toBe('content_lost')
  expect(told).toEqual([])
})
