import { expect, test } from 'vitest'
import { NodesProgress } from './nodes-progress.ts'

const DIGEST = `sha256:${'a'.repeat(64)}`
const layer = (completed: number, total = 100) => ({ status: 'pulling aaaaaaaaaaaa', digest: DIGEST, total, ...(completed > 0 && { completed }) })
const says = (status: string) => ({ status })

test('of one node all is told as it comes, but success', () => {
  const progress = new NodesProgress(1)
  const lines = [says('pulling manifest'), layer(0), layer(40), layer(100), says('verifying sha256 digest'), says('writing manifest')]
  expect([...lines, says('success')].flatMap((line) => progress.take(0, line))).toEqual(lines)
})

test('of several a part is the sum over all, and what all do is told once', () => {
  const progress = new NodesProgress(2)
  const told = [
    progress.take(0, says('pulling manifest')), progress.take(1, says('pulling manifest')), progress.take(0, layer(50)), progress.take(1, layer(0)), progress.take(1, layer(30)),
    progress.take(0, layer(100)), progress.take(0, says('verifying sha256 digest')), progress.take(1, layer(100)), progress.take(1, says('verifying sha256 digest')),
  ]
  expect(told).toEqual([[says('pulling manifest')], [], [layer(50, 200)], [], [layer(80, 200)], [layer(130, 200)], [], [layer(200, 200)], [says('verifying sha256 digest')]])
})

test('a node that begins anew takes nothing back', () => {
  const progress = new NodesProgress(2)
  for (const number of [0, 1]) progress.take(number, layer(60))
  expect(progress.take(1, layer(0))).toEqual([])
  expect(progress.take(1, layer(50))).toEqual([])
  expect(progress.take(1, layer(70))).toEqual([layer(130, 200)])
})

test('nobody waits for a node that is out of it', () => {
  const progress = new NodesProgress(2)
  progress.take(0, layer(100))
  progress.take(0, says('verifying sha256 digest'))
  progress.take(0, says('writing manifest'))
  expect(progress.over(1)).toEqual([says('verifying sha256 digest'), says('writing manifest')])
})

test('a node that had all of it counts as whole in what others still bring', () => {
  const progress = new NodesProgress(2)
  progress.over(1)
  expect(progress.take(0, layer(10))).toEqual([layer(110, 200)])
})

test('statuses that only some nodes have are told in their turn', () => {
  const progress = new NodesProgress(2)
  progress.take(0, says('writing manifest'))
  progress.take(0, says('removing unused layers'))
  expect(progress.take(1, says('writing manifest'))).toEqual([says('writing manifest')])
  progress.over(0)
  expect(progress.over(1)).toEqual([says('removing unused layers')])
})
