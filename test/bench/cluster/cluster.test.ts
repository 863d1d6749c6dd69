import { expect, onTestFinished, test } from 'vitest'
import { skipsWithoutCluster } from '../../cluster/stage.ts'
import { clusterFigures, clusterTable } from './figures.ts'
import { pairsOn, type Turn } from './rounds.ts'
import { layersOver, openSite } from './site.ts'

test('layers are spread evenly, each once', () => {
  expect(layersOver(['a'], 12)).toEqual({ a: [0, 12] })
  expect(layersOver(['a', 'b', 'c'], 12)).toEqual({ a: [0, 4], b: [4, 8], c: [8, 12] })
  expect(layersOver(['a', 'b', 'c'], 11)).toEqual({ a: [0, 4], b: [4, 8], c: [8, 11] })
})

const turn = (each: number): Turn => ({ loadMs: 100 * each, firstMs: each, tokensPerSecond: 10 * each })

test('figures are medians, and the ratio is that of the pairs', () => {
  const pairs = [1, 2, 3, 4, 5, 6].map((each) => ({ members: 2, plain: turn(each), drover: turn(2 * each) }))
  const figures = clusterFigures(pairs)
  expect(figures[1]).toEqual({ members: 2, name: 'first token, ms', plain: 3.5, drover: 7, pairs: 6, ratio: 2, interval: [2, 2] })
  expect(clusterTable(figures)).toContain('2.000–2.000')
  expect(clusterTable(clusterFigures(pairs.slice(0, 2)))).toContain('too few pairs')
})

test.skipIf(skipsWithoutCluster())('through Drover and by hand the same is said, and each turn leaves nothing behind', async () => {
  const site = await openSite(2)
  onTestFinished(() => site.close())
  const [pair] = await pairsOn(site, 2, { pairs: 1, answers: 1, tokens: 16 }, () => undefined)
  for (const turn of [pair?.plain, pair?.drover]) for (const value of Object.values(turn ?? expect.fail('there is no pair'))) expect(value).toBeGreaterThan(0)
}, 120_000)
