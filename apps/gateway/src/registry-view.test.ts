import type { ModelName, NodeRecord, ShortOf } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import { RegistryView } from './registry-view.ts'

const held = (model: string) => ({ model, engineName: model, digest: '', size: 0, modifiedAt: '' })
/** A node whose engine has these models, or is away when there are none. */
const node = (id: string, ...models: string[]) => ({ id, engines: [{ id: 'e', kind: 'ollama', held: models.map(held), maxLoaded: Math.sign(models.length) }] }) as unknown as NodeRecord
/** Its engine is there and has none. */
const emptied = (id: string) => ({ id, engines: [{ id: 'e', kind: 'ollama', held: [], maxLoaded: 1 }] }) as unknown as NodeRecord
const coordinator = (id: string, models: string[], shortOf: ShortOf[] = []) =>
  ({ id, engines: [{ id: 'cluster', kind: 'llama-server', layout: 'cluster', held: models.map(held) }], shortOf }) as unknown as NodeRecord

/** A view whose nodes change as it is told. */
const viewOf = async (...first: NodeRecord[]) => {
  let nodes = first
  const view = new RegistryView({ read: () => Promise.resolve(nodes), onError: expect.unreachable, intervalMs: 1_000_000 })
  onTestFinished(() => view.stop())
  await view.refresh()
  return { view, become: (...now: NodeRecord[]) => ((nodes = now), view.refresh()) }
}
const M = 'm:latest' as ModelName

test('a model whose last holder has just gone, or whose engine is away, is still known', async () => {
  for (const gone of [[], [node('a')]]) {
    const { view, become } = await viewOf(node('a', M))
    await become(...gone)
    expect(view.holders.has(M)).toBe(false)
    expect(await view.resolve('m')).toBe(M)
    expect(await view.resolve('never')).toBeUndefined()
  }
})

test.each([['others', node('a', 'other:latest')], ['none', emptied('a')]])('one that was removed from an engine that is there and has %s is not', async (_which, now) => {
  const { view, become } = await viewOf(node('a', M, 'other:latest'))
  await become(now)
  expect(await view.resolve('m')).toBeUndefined()
})

test('of two holders, one of which has removed it, the other may come back with it', async () => {
  const { view, become } = await viewOf(node('a', M, 'other:latest'), node('b', M))
  await become(node('a', 'other:latest'))
  expect(await view.resolve('m')).toBe(M)
  await become(node('a', 'other:latest'), node('b', 'other:latest'))
  expect(await view.resolve('m')).toBeUndefined()
})

const short = (never: boolean, reason = never ? 'too large' : 'others use it'): ShortOf => ({ model: M, reason, never })
const OVER = { layout: 'cluster' } as const

test('a model that nobody holds, and that may be run when there is memory, is known; one that never will is not, and both reasons are told', async () => {
  const { view, become } = await viewOf(coordinator('c', [], [short(false)]))
  expect([await view.resolve('m'), view.mayCome(M, {}), view.mayCome(M, OVER), view.mayCome(M, { layout: 'node' }), view.short.get(M)?.reason]).toEqual([M, true, true, false, 'others use it'])
  await become(coordinator('c', [], [short(true)]))
  expect([await view.resolve('m'), view.mayCome(M, {}), view.mayCome(M, OVER), view.short.get(M)?.reason]).toEqual([undefined, false, false, 'too large'])
  await become(coordinator('c', [], [short(true)]), coordinator('d', [], [short(false)]), coordinator('e', [], [short(true)]))
  expect([await view.resolve('m'), view.short.get(M)?.reason]).toEqual([M, 'others use it'])
})

test('engines that are required are told from the others, those that have just gone, too', async () => {
  const { view, become } = await viewOf(node('a', M), coordinator('c', [M]))
  expect([{}, OVER, { layout: 'node' } as const, { engine: 'llama-server' } as const].map((required) => view.holdersFor(M, required).map(({ node: { id } }) => id))).toEqual([['a', 'c'], ['c'], ['a'], ['c']])
  await become(node('a', M))
  expect([view.mayCome(M, OVER), view.mayCome(M, { layout: 'node' }), view.mayCome(M, { engine: 'llama-server' })]).toEqual([true, false, true])
  // Its word that it never will be goes before that it was.
  await become(node('a', M), coordinator('c', [], [short(true)]))
  expect([view.mayCome(M, OVER), await view.resolve('m')]).toEqual([false, M])
  await become(node('a', M), coordinator('c', [M]))
  await become(coordinator('c', [M]))
  expect([view.mayCome(M, OVER), view.mayCome(M, { layout: 'node' })]).toEqual([false, true])
})
