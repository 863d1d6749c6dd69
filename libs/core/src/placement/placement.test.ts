import { expect, test } from 'vitest'
import { bestHost, hasRoom, placeModel, type ModelHost } from './placement.ts'

const node = (name: string, facts: Partial<ModelHost> = {}): ModelHost => ({ node: name, holds: false, preference: 0, free: 0, models: 0, ...facts })
const GB = 1e9

test.each<[string, ModelHost[], number, { on: string[]; missing: number }]>([
  ['nobody is there', [], 1, { on: [], missing: 1 }],
  ['one is wanted', [node('b'), node('a')], 1, { on: ['a', 'b'], missing: 1 }],
  ['a preferred node goes first', [node('a', { free: 9 * GB }), node('b', { preference: 1 })], 1, { on: ['b', 'a'], missing: 1 }],
  ['then the one with more memory', [node('a', { free: GB }), node('b', { free: 2 * GB })], 1, { on: ['b', 'a'], missing: 1 }],
  ['then the one with more room on its disk', [node('a', { disk: GB }), node('b', { disk: 2 * GB }), node('c')], 1, { on: ['b', 'a', 'c'], missing: 1 }],
  ['then the one with fewer models', [node('a', { models: 3 }), node('b', { models: 2 })], 1, { on: ['b', 'a'], missing: 1 }],
  ['a holder counts', [node('a', { holds: true }), node('b')], 2, { on: ['b'], missing: 1 }],
  ['holders are enough', [node('a', { holds: true }), node('b')], 1, { on: ['b'], missing: 0 }],
  ['more hold it than are wanted', [node('a', { holds: true }), node('b', { holds: true })], 1, { on: [], missing: 0 }],
  ['fewer are there than are wanted', [node('a')], 3, { on: ['a'], missing: 3 }],
])('%s', (_, hosts, replicas, placement) => {
  expect(placeModel(hosts, replicas)).toEqual(placement)
  expect(placeModel(hosts.toReversed(), replicas)).toEqual(placement)
})

test.each<[string, ModelHost[], string | undefined]>([
  ['nobody is there', [], undefined],
  ['a holder goes before a preferred node', [node('a', { preference: 5 }), node('b', { holds: true })], 'b'],
  ['of holders the preferred one', [node('a', { holds: true }), node('b', { holds: true, preference: 1 })], 'b'],
  ['without a holder the fittest', [node('a', { free: GB }), node('b', { free: 2 * GB })], 'b'],
])('the best: %s', (_, hosts, chosen) => expect(bestHost(hosts)).toBe(chosen))

test.each<[string, Partial<ModelHost>, number | undefined, boolean]>([
  ['less than is free', { disk: 5 }, 5, true],
  ['more than is free', { disk: 5 }, 6, false],
  ['it is there already', { disk: 5, holds: true }, 6, true],
  ['nobody knows how much it is', { disk: 5 }, undefined, true],
  ['nobody knows how much is free', {}, 6, true],
])('room: %s', (_, facts, bytes, has) => expect(hasRoom(node('a', facts), bytes)).toBe(has))
