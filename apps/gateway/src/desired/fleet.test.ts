import { NO_MEMORY, type ModelName, type NodeRecord } from '@drover/core'
import { expect, test } from 'vitest'
import { fleetOf } from './fleet.ts'

const MODEL = 'm:latest' as ModelName
const living: NodeRecord = { v: 1, id: 'here', version: '0', labels: {}, preference: 0, draining: false, changesModels: true, gpus: [], startedAt: 1, engines: [] }

test.each([
  ['its last word was a moment ago', { silentMs: 4_000, heardMs: 60_000 }, 'away'],
  ['it has been silent for too long', { silentMs: 10_000, heardMs: 60_000 }, 'gone'],
  ['nobody could be heard for longer: the site was away, or this gateway has only just come', { silentMs: 3_600_000, heardMs: 5_000 }, 'away'],
  ['and since then it might have spoken', { silentMs: 3_600_000, heardMs: 10_000 }, 'gone'],
])('%s', (_, { silentMs, heardMs }, state) => {
  const memory = { ...NO_MEMORY, seen: [{ model: MODEL, node: 'absent' }] }
  const nodes = fleetOf({ nodes: [living], silent: new Map([['here', 0], ['absent', silentMs]]), heardMs, graceMs: 10_000, memory, failing: () => new Set() })
  expect(nodes.map((each) => [each.node, each.state, [...each.held]])).toEqual([['here', 'there', []], ...(state === 'away' ? [['absent', 'away', [MODEL]]] : [])])
})
