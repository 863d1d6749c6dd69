import { expect, test } from 'vitest'
import { runsAlone } from './routing.ts'

const GB = 1e9
const node = (total: number | undefined, ...cards: number[]) => ({
  ...(total !== undefined && { memory: { total: total * GB, free: 0 } }),
  gpus: cards.map((memory) => ({ name: 'card', memory: memory * GB, free: 0 })),
})

test.each([
  ['its memory', node(32), 28, true],
  ['less memory', node(32), 29, false],
  ['cards', node(undefined, 24, 24), 43, true],
  ['cards that are too small', node(undefined, 24), 43, false],
  ['memory and a card', node(32, 24), 50, true],
])('by %s a node runs a model alone, or does not', (_what, record, gigabytes, runs) => {
  for (const parameters of [1e9, 400e9]) expect(runsAlone(record, { bytes: gigabytes * GB, parameters })).toBe(runs)
})

test('where nobody knows what a node has, the number of parameters decides', () => {
  expect(runsAlone(node(undefined), { bytes: 500 * GB, parameters: 70e9 })).toBe(true)
  expect(runsAlone(node(undefined), { bytes: 1, parameters: 70e9 + 1 })).toBe(false)
})
