import type { JobClass, ModelName, Requirements } from '@drover/core'
import { expect, test } from 'vitest'
import { laneOf, nodeLane, readLane, shownLane } from './keys.ts'

const CASES: readonly [string, JobClass, Requirements | undefined, string][] = [
  ['llama3.1:8b', 'interactive', undefined, 'llama3.1%3A8b~interactive'],
  ['m:latest', 'batch', { engine: 'llama-server' }, 'm%3Alatest~batch~llama-server'],
  ['m:latest', 'batch', { layout: 'cluster' }, 'm%3Alatest~batch~~cluster'],
  ['m:latest', 'interactive', { engine: 'llama-server', layout: 'node' }, 'm%3Alatest~interactive~llama-server~node'],
  ['hf.co/a/b~c:q4_k_m', 'interactive', { layout: 'node' }, 'hf.co%2Fa%2Fb%7Ec%3Aq4_k_m~interactive~~node'],
]

test.for(CASES)('the lane of %s, %s, %o is called %s, and its name says all of that', ([model, jobClass, required, name]) => {
  const lane = laneOf(model as ModelName, jobClass, required)
  expect(lane).toBe(name)
  expect(lane).not.toContain(':')
  expect(readLane(lane)).toEqual({ model, class: jobClass, ...required })
})

test('jobs that require different things stand in different lanes', () => {
  const lanes = CASES.map(([, , required]) => laneOf('m:latest' as ModelName, 'interactive', required))
  expect(new Set(lanes).size).toBe(5)
})

test('the lane of a node is no model’s, and is shown with the name of the node', () => {
  expect(nodeLane('n.1-a')).toBe('~models~n.1-a')
  expect(shownLane(nodeLane('n.1-a'))).toEqual({ model: '@n.1-a', class: 'models' })
  expect(shownLane(laneOf('~models:latest' as ModelName, 'interactive'))).toEqual({ model: '~models:latest', class: 'interactive' })
})
