import { expect, test } from 'vitest'
import { linesOf } from './lines.ts'

async function* cut(text: string, size: number) {
  const bytes = Buffer.from(text)
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size)
}
const read = async (text: string, size: number, most = 100) => {
  const lines = []
  for await (const { number, offset, length, bytes } of linesOf(cut(text, size), most)) lines.push([number, offset, length, bytes?.toString()])
  return lines
}

test.for([1, 2, 3, 7, 1000])('lines are the same however they are cut: by %i bytes', async (size) => {
  expect(await read('one\ntwo\r\n\n  \nfünf\nlast', size)).toEqual([[1, 0, 3, 'one'], [2, 4, 3, 'two'], [5, 13, 5, 'fünf'], [6, 19, 4, 'last']])
  expect(await read('', size)).toEqual([])
  expect(await read('\n\n', size)).toEqual([])
  expect(await read('a\n', size)).toEqual([[1, 0, 1, 'a']])
})

test.for([1, 3, 1000])('a line that is too long is told of without being held: cut by %i bytes', async (size) => {
  expect(await read(`a\n${'x'.repeat(50)}\nb`, size, 10)).toEqual([[1, 0, 1, 'a'], [2, 2, 50, undefined], [3, 53, 1, 'b']])
})
