import { expect, test } from 'vitest'
import { freeOf } from './offer.ts'

const MIB = 1024 ** 2
const processor = { name: 'CPU', kind: 'cpu', total: 100 * MIB + 1 } as const

test('what is free is told to the byte, so that a model which just fits is not refused', () => {
  expect(freeOf(processor, 0, Infinity, [])).toBe(100 * MIB + 1)
  expect(freeOf(processor, 30 * MIB, Infinity, [])).toBe(70 * MIB + 1)
  expect(freeOf(processor, 0, 7, [])).toBe(7)
  expect(freeOf(processor, 200 * MIB, Infinity, [])).toBe(0)
})

test('never more than there really is, of which small changes are no news', () => {
  const card = { name: 'CUDA0', kind: 'gpu', total: 1000 * MIB } as const
  const free = (bytes: number) => freeOf(card, 0, Infinity, [{ name: 'A', memory: 1000 * MIB, free: bytes }])
  const some = free(500 * MIB)
  expect(some).toBeGreaterThan(400 * MIB)
  expect(some).toBeLessThanOrEqual(500 * MIB)
  expect(free(500 * MIB - 1)).toBeLessThanOrEqual(some)
  expect(new Set([1, 2, 3, 4].map((pages) => free(460 * MIB + 4096 * pages))).size).toBe(1)
})
