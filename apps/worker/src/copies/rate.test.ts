import { expect, test } from 'vitest'
import { Rate } from './rate.ts'

test('what several send together takes its time', async () => {
  const rate = new Rate(1_000_000)
  const begun = performance.now()
  // The first piece goes at once; the others wait until those before them have had their time.
  await Promise.all([1, 2, 3, 4].map(() => rate.take(50_000)))
  expect(performance.now() - begun).toBeGreaterThan(145)
})

test('time in which nothing was sent is not saved up', async () => {
  const rate = new Rate(1_000_000)
  await rate.take(1)
  await new Promise((resolve) => setTimeout(resolve, 100))
  const begun = performance.now()
  for (let i = 0; i < 3; i += 1) await rate.take(50_000)
  expect(performance.now() - begun).toBeGreaterThan(95)
})
