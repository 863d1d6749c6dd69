import { expect, test } from 'vitest'
import { RangeReader } from './range-reader.ts'

const whole = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff))

/** The content in parts that end at these places, and what was read of it. */
const parted = (...ends: number[]) => {
  const reads: number[] = []
  const bounds = [0, ...ends, whole.length]
  const parts = bounds.slice(1).map((end, i) => [String(i), end - bounds[i]!] as const)
  const read = async (name: string, from: number, to: number) => {
    reads.push(to - from)
    const begin = bounds[Number(name)]!
    return whole.subarray(begin + from, begin + to)
  }
  return { reader: new RangeReader({ read }, parts), reads }
}

test('what lies over the edge of two parts, or of many, is read as one', async () => {
  const { reader } = parted(1000, 1001, 1500, 2_000_000)
  for (const [offset, length] of [[0, 1000], [999, 3], [900, 700], [1_999_990, 20], [2_999_000, 1000], [1500, 1]] as const) expect(await reader.read(offset, length)).toEqual(whole.subarray(offset, offset + length))
})

test('lines that are asked for in order at several places are read ahead at each of them', async () => {
  const { reader, reads } = parted(1_500_000)
  for (let i = 0; i < 500; i += 1) for (const start of [0, 400_000, 800_000, 2_000_000]) expect((await reader.read(start + i * 500, 500)).length).toBe(500)
  expect(reads.length).toBe(4)
})

test('what is longer than is read ahead comes whole', async () => {
  const { reader } = parted(1_000_000)
  expect((await reader.read(500_000, 2_000_000)).equals(whole.subarray(500_000, 2_500_000))).toBe(true)
})
