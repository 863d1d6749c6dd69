import type { LentDevice, ModelShape, NodeRecord } from '@drover/core'
import { expect, test } from 'vitest'
import { bestPlan, type Planned } from './plan.ts'

const GB = 1e9
/** Ten layers of a gigabyte. */
const shape: ModelShape = {
  layers: Array.from({ length: 10 }, () => GB), kv: Array.from({ length: 10 }, () => 1_024), input: 0.1 * GB, output: 0.1 * GB, largest: 1_000, embedding: 1_024, feedForward: 4_096, vocabulary: 32_000, heads: 16,
}
const device = (free: number, total = free): LentDevice => ({ name: 'CPU', kind: 'cpu', total: total * GB, free: free * GB })
const node = (id: string, ...devices: LentDevice[]) => ({ id, lending: { address: '10.0.0.1', devices } }) as unknown as NodeRecord
const wish = { slots: 2, context: 4_096 }
const coordinators = (...nodes: string[]) => nodes.map((each) => ({ node: each, shape }))

const told = (planned: Planned | undefined): string =>
  planned?.verdict.kind === 'planned' ? `${planned.coordinator}: ${planned.verdict.plan.members.map((member) => member.node).join(', ')}` : `${planned?.coordinator} refuses${planned?.verdict.never ? ' for ever' : ''}`

test('of nodes that could coordinate that one does which needs the fewest parts, and the first of those that need as many', () => {
  const nodes = [node('a', device(6)), node('b', device(14)), node('c', device(6)), node('d', device(14))]
  expect(told(bestPlan(coordinators('a', 'b', 'c', 'd'), nodes, wish))).toBe('a: b')
  expect(told(bestPlan(coordinators('d'), nodes, wish))).toBe('d: d')
  expect(told(bestPlan(coordinators('c'), [nodes[0]!, nodes[2]!], wish))).toBe('c: c, a')
})

test('one that can goes before those that cannot, and of those that cannot one that may some day', () => {
  const small = [node('a', device(4)), node('b', device(6))]
  expect(told(bestPlan(coordinators('a', 'b'), small, wish))).toBe('a refuses for ever')
  // What b lends is used by others now.
  const busy = [node('a', device(4)), node('b', device(6, 20)), node('c', device(2))]
  expect(told(bestPlan(coordinators('a', 'b'), busy, wish))).toBe('a refuses')
  expect(told(bestPlan(coordinators('a', 'b'), busy, { ...wish, nodes: ['c'] }))).toBe('b refuses')
  expect(told(bestPlan(coordinators('a', 'b'), [...busy, node('d', device(20))], wish))).toBe('a: d')
})

test('without a node that could coordinate there is no plan', () => {
  expect(bestPlan([], [node('a', device(40))], wish)).toBeUndefined()
})
