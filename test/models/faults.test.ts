import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { test } from '../support/world.ts'
import { goesBack, modelSite, pullLines } from './site.ts'

const MODEL = 'big:latest'
/** Six seconds of work on each node. */
const LIBRARY = [{ name: MODEL, size: 6_000_000, layers: 2, rate: 1_000_000 }]
const NODES = ['n1', 'n2', 'n3']

/** A pull of two copies, in whose middle something happens. */
const twoOfThree = async (sources: Parameters<typeof modelSite>[0], happens: (site: Awaited<ReturnType<typeof modelSite>>, busy: string[]) => Promise<void>) => {
  const site = await modelSite(sources, { nodes: NODES, library: LIBRARY })
  const pull = pullLines(site.url, { model: MODEL, replicas: 2 })
  await until('both are in the middle of it', () => pull.lines.some(({ completed = 0 }) => completed > 1_000_000))
  const busy: string[] = []
  for (const [name, { engine }] of site.nodes) if ((await engine.admin.managed(MODEL)).pulling > 0) busy.push(name)
  expect(busy).toHaveLength(2)
  await happens(site, busy)
  await pull.over
  expect(pull.lines.at(-1)).toEqual({ status: 'success' })
  expect(pull.lines.filter(({ status }) => status === 'success')).toHaveLength(1)
  expect(goesBack(pull.lines)).toBe(false)
  for (const { total, digest } of pull.lines) if (digest !== undefined) expect(total).toBe(6_000_000)
  expect(pull.lines.filter(({ completed, total }) => completed === total && total !== undefined)).toHaveLength(2)
  return { site, busy }
}

test('two copies over three nodes: exactly two hold it', async ({ drover, scripted }) => {
  const { site, busy } = await twoOfThree({ drover, scripted }, async () => undefined)
  expect(await site.holders(MODEL)).toEqual(busy)
})

test('a node that dies in the middle is replaced by another', async ({ drover, scripted }) => {
  const { site, busy } = await twoOfThree({ drover, scripted }, async ({ nodes }, [first = '']) => {
    nodes.get(first)!.worker.signal('SIGKILL')
    await nodes.get(first)!.engine.admin.die()
  })
  expect(await site.holders(MODEL)).toEqual(NODES.filter((node) => node !== busy[0]))
})

test('a worker that is killed and comes back: it goes on, or another node has taken its place', async ({ drover, scripted }) => {
  const { site, busy } = await twoOfThree({ drover, scripted }, async ({ nodes }, [first = '']) => {
    const { worker, engine } = nodes.get(first)!
    worker.signal('SIGKILL')
    await until('its pull has stopped', async () => (await engine.admin.managed(MODEL)).pulling === 0)
    // It has its name again when the dead one has not been heard of for a while: by then another node may have taken its place.
    await drover.worker(first, [engine.url])
  })
  expect(await site.holders(MODEL)).toHaveLength(2)
  expect(await site.holders(MODEL)).toContain(busy[1])
})

test('an engine that breaks off is asked again, and goes on where it was', async ({ drover, scripted }) => {
  const { site, busy } = await twoOfThree({ drover, scripted }, async ({ nodes }, [first = '']) => {
    await nodes.get(first)!.engine.admin.breakOff()
  })
  expect(await site.holders(MODEL)).toEqual(busy)
  expect((await site.nodes.get(busy[0]!)!.engine.admin.managed(MODEL)).pulls).toBe(2)
})

test('Redis restarts in the middle of it', async ({ drover, scripted, redis }) => {
  const { site, busy } = await twoOfThree({ drover, scripted }, async () => {
    await redis.restart()
  })
  expect(await site.holders(MODEL)).toEqual(busy)
  expect(await site.sum(MODEL, 'pulls')).toBe(2)
})

test('a worker that is stopped gives its pull back at once', async ({ drover, scripted }) => {
  const { site, busy } = await twoOfThree({ drover, scripted }, async ({ nodes }, [first = '']) => {
    const began = performance.now()
    await nodes.get(first)!.worker.stop()
    expect(performance.now() - began).toBeLessThan(5_000)
  })
  expect(await site.holders(MODEL)).toEqual(NODES.filter((node) => node !== busy[0]))
})

test('an engine that always breaks off is asked three times, and then the reason is told', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1', 'n2'], library: [{ name: MODEL, breaks: true }] })
  const pull = pullLines(site.url, { model: MODEL }, { 'x-drover-nodes': 'n1' })
  await pull.over
  expect(pull.lines).toEqual([{ status: 'pulling manifest' }, { error: expect.stringMatching(/^node n1: engine .* closed the connection/) as string }])
  expect((await site.nodes.get('n1')!.engine.admin.managed(MODEL)).pulls).toBe(3)
  // Where none is named the other one is tried, too.
  await site.nodes.get('n2')!.engine.admin.library([{ name: MODEL }])
  const anywhere = pullLines(site.url, { model: MODEL })
  await anywhere.over
  expect(anywhere.last()).toEqual({ status: 'success' })
  expect(await site.holders(MODEL)).toEqual(['n2'])
})

const middle = (times: number[]) => times.toSorted((a, b) => a - b)[5]!

test('a pull of a minute delays no answer', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1'], library: [{ name: MODEL, size: 60_000_000, rate: 1_000_000 }] })
  const answer = async (key: string) => {
    const began = performance.now()
    const told = await ask(site.url, 'ollama.chat', { key, model: 'own-n1', script: { tokens: 5 } }).told
    expect([told.ended, told.verdict.ok]).toEqual([true, true])
    return performance.now() - began
  }
  const alone: number[] = []
  for (let i = 0; i < 10; i += 1) alone.push(await answer(`a${i}`))
  const pull = pullLines(site.url, { model: MODEL })
  await until('it pulls', () => pull.lines.some(({ completed = 0 }) => completed > 0))
  const beside: number[] = []
  for (let i = 0; i < 10; i += 1) beside.push(await answer(`b${i}`))
  // Both beside the same pull, which has not ended: nobody waited for it.
  expect(pull.last()?.status).toMatch(/^pulling/)
  expect(middle(beside)).toBeLessThan(middle(alone) + 250)
  pull.leave()
})
