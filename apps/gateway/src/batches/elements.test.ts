import fc from 'fast-check'
import { expect, test } from 'vitest'
import { elementsOf } from './elements.ts'

async function* cut(text: string, size: number) {
  const bytes = Buffer.from(text)
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size)
}
const read = async (text: string, size: number, most = 10_000) => {
  const elements: unknown[] = []
  for await (const element of elementsOf(cut(text, size), { field: 'requests', most })) elements.push(JSON.parse(element.toString()))
  return elements
}

test('whatever stands in them and around them, and however they are cut, elements are those that a parser finds', async () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }))
  await fc.assert(
    fc.asyncProperty(fc.array(object, { maxLength: 6 }), object, object, fc.integer({ min: 1, max: 40 }), fc.constantFrom(undefined, 1), async (requests, before, after, size, indent) => {
      const { requests: _, ...first } = before
      const { requests: __, ...last } = after
      const text = JSON.stringify({ ...first, requests, ...last }, null, indent)
      expect(await read(text, size)).toEqual((JSON.parse(text) as { requests: unknown }).requests)
    }),
    { numRuns: 300 },
  )
})

test.for([
  ['', 'not valid JSON'], ['[]', 'not a JSON object'], ['7', 'not a JSON object'], ['"requests"', 'not a JSON object'], ['{}', 'requests: Field required'], ['{"a":{"requests":[{}]}}', 'requests: Field required'],
  ['{"requests":{}}', 'requests: is a list'], ['{"requests":[1]}', 'each of them is an object'], ['{"requests":["a"]}', 'each of them is an object'], ['{"requests":[[]]}', 'each of them is an object'],
  ['{"requests":[{}', 'not valid JSON'], ['{"requests":[{}]}}', 'not valid JSON'], ['{"requests":[{}]} {', 'not valid JSON'], [`{"requests":[{"a":"${'x'.repeat(200)}"}]}`, 'larger than 100 bytes'],
] as const)('%s is refused: %s', async ([text, message]) => {
  for (const size of [1, 7, 1000]) await expect(read(text, size, 100)).rejects.toThrow(message)
})
