import { expect, test } from 'vitest'
import { GrowingSegments } from './growing-segments.ts'

/** A place where nothing that is written can be changed, and what was announced there. */
const place = () => {
  const objects = new Map<string, Buffer>()
  const begun: string[] = []
  let broken = false
  const growing = new GrowingSegments('batch_1.000001-ab.out', {
    begin: async (name) => void begun.push(name),
    write: async (name, bytes) => {
      if (!begun.includes(name)) throw new Error('nobody knows of it')
      objects.set(name, Buffer.from(bytes))
      if (broken) throw new Error('no answer')
    },
  })
  return { objects, begun, growing, breaks: (how: boolean) => (broken = how) }
}

/** Adds a piece and has it counted, as Redis would. */
const count = async (growing: GrowingSegments, parts: Map<string, number>, piece: string) => {
  const { before, after } = await growing.add(Buffer.from(piece))
  expect(parts.get(before[0]) ?? 0).toBe(before[1])
  parts.delete(before[0])
  parts.set(...after)
  growing.counted()
}

test('what counts is all that was added, in order, and each part is as long as it is said to be', async () => {
  const { objects, growing } = place()
  const parts = new Map<string, number>()
  const pieces = Array.from({ length: 30 }, (_, i) => `${i}:${'x'.repeat(i * 5_000)}\n`)
  for (const piece of pieces) await count(growing, parts, piece)
  const names = [...parts.keys()].toSorted()
  expect(names.map((name) => objects.get(name)?.length)).toEqual(names.map((name) => parts.get(name)))
  expect(names.map((name) => objects.get(name)?.toString()).join('')).toBe(pieces.join(''))
  // Few of them: each but the last is large.
  expect(names.length).toBeGreaterThan(2)
  expect(names.slice(0, -1).every((name) => parts.get(name)! >= 512 * 1024)).toBe(true)
})

test('a piece that was written without an answer, and is written again with more, changes nothing that counts', async () => {
  const { objects, begun, growing, breaks } = place()
  const parts = new Map<string, number>()
  await count(growing, parts, 'one ')
  breaks(true)
  await expect(growing.add(Buffer.from('two '))).rejects.toThrow('no answer')
  await expect(growing.add(Buffer.from('two '))).rejects.toThrow('no answer')
  breaks(false)
  expect([...parts.keys()].map((name) => objects.get(name)?.toString())).toEqual(['one '])
  await count(growing, parts, 'two three ')
  expect([...parts.keys()].map((name) => objects.get(name)?.toString())).toEqual(['one two three '])
  // Three contents, three names: the same one twice is the same name, and is announced once.
  expect(begun.length).toBe(3)
  expect(new Set(begun).size).toBe(3)
})
