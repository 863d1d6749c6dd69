import { expect, test } from 'vitest'
import { BUCKETS, Histogram, createMetrics, exposition } from './metrics.ts'

test('the exposition has the process figures and our own, in Prometheus text', async () => {
  const registry = createMetrics()
  const firstToken = new Histogram({
    name: 'drover_time_to_first_token_seconds',
    help: 'received to first token',
    buckets: [...BUCKETS.firstToken],
    registers: [registry],
  })
  firstToken.observe(0.3)
  const { contentType, body } = await exposition(registry)
  expect(contentType).toMatch(/^text\/plain/)
  expect(body).toContain('drover_process_resident_memory_bytes')
  expect(body).toContain('drover_time_to_first_token_seconds_bucket{le="0.25"} 0')
  expect(body).toContain('drover_time_to_first_token_seconds_bucket{le="0.5"} 1')
})

test('two registries know nothing of each other', async () => {
  const [one, two] = [createMetrics(), createMetrics()]
  expect(one).not.toBe(two)
  new Histogram({ name: 'drover_only_in_one_seconds', help: 'x', registers: [one] }).observe(1)
  expect((await exposition(two)).body).not.toContain('only_in_one')
})

test.each(Object.entries(BUCKETS))('the bounds of %s rise', (_, bounds) => {
  expect([...bounds]).toEqual(bounds.toSorted((a, b) => a - b))
})
