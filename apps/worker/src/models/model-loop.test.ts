import type { Lease } from '@drover/broker'
import { afterEach, expect, test } from 'vitest'
import { modelLoop } from './model-loop.ts'

interface Held {
  name: string
  lease: Lease
  end(): void
}

const stopping: AbortController[] = []
afterEach(() => stopping.splice(0).forEach((each) => each.abort()))

/** A loop with jobs to take; each runs until it is ended. */
const loop = (paused = () => false) => {
  const waiting: { name: string; abort: AbortController }[] = []
  const running: Held[] = []
  const begun: string[] = []
  const givenUp: string[] = []
  let heard: (() => void) | undefined
  const draining = new AbortController()
  stopping.push(draining)
  const over = modelLoop({
    take: async () => {
      const next = waiting.shift()
      return next ? ({ job: { model: next.name }, signal: next.abort.signal } as unknown as Lease) : 'empty'
    },
    onHeard: (then) => void (heard = then),
    subjects: ({ job }) => job.model.split('+'),
    run: (lease) =>
      new Promise((resolve) => {
        begun.push(lease.job.model)
        const held: Held = { name: lease.job.model, lease, end: () => (running.splice(running.indexOf(held), 1), resolve()) }
        running.push(held)
      }),
    giveUp: async ({ job }) => void givenUp.push(job.model),
    paused,
    draining: draining.signal,
    onError: (error) => {
      throw error
    },
    pollMs: 10,
  })
  const add = (...names: string[]) => {
    const aborts = names.map((name) => {
      const abort = new AbortController()
      waiting.push({ name, abort })
      return abort
    })
    heard?.()
    return aborts
  }
  return { add, running, begun, givenUp, over, draining, end: (name: string) => running.find((each) => each.name === name)?.end() }
}

test('four run at once, and the next when one ends', async () => {
  const { add, running, begun, end } = loop()
  add('a', 'b', 'c', 'd', 'e', 'f')
  await expect.poll(() => begun).toEqual(['a', 'b', 'c', 'd'])
  end('b')
  await expect.poll(() => begun).toEqual(['a', 'b', 'c', 'd', 'e'])
  expect(running).toHaveLength(4)
})

test('what is about one model runs in its order, and holds nothing else up', async () => {
  const { add, begun, end } = loop()
  add('a', 'a+b', 'b', 'c')
  await expect.poll(() => begun).toEqual(['a', 'c'])
  end('a')
  await expect.poll(() => begun).toEqual(['a', 'c', 'a+b'])
  end('a+b')
  await expect.poll(() => begun).toEqual(['a', 'c', 'a+b', 'b'])
})

test('what ends before its turn is given up at once, and those behind it keep theirs', async () => {
  const { add, begun, givenUp, end } = loop()
  const [, second] = add('a', 'a', 'a')
  await expect.poll(() => begun).toEqual(['a'])
  second!.abort()
  await expect.poll(() => givenUp).toEqual(['a'])
  expect(begun).toEqual(['a'])
  end('a')
  await expect.poll(() => begun).toEqual(['a', 'a'])
})

test('while it is paused, or when it drains, it takes nothing', async () => {
  const facts = { paused: true }
  const { add, begun, over, draining } = loop(() => facts.paused)
  add('a')
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(begun).toEqual([])
  facts.paused = false
  await expect.poll(() => begun).toEqual(['a'])
  draining.abort()
  await over
  add('b')
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(begun).toEqual(['a'])
})
