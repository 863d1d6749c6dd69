import type { ModelName, NodeRecord } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import { RegistryView } from './registry-view.ts'

const held = (model: string) => ({ model, engineName: model, digest: '', size: 0, modifiedAt: '' })
const node = (id: string, ...models: string[]) => ({ id, engines: [{ id: 'e', held: models.map(held) }] }) as unknown as NodeRecord

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

test('one that was removed from an engine that is there is not', async () => {
  const { view, become } = await viewOf(node('a', M, 'other:latest'))
  await become(node('a', 'other:latest'))
  expect(await view.resolve('m')).toBeUndefined()
})

test('of two holders, one of which has removed it, the other may come back with it', async () => {
  const { view, become } = await viewOf(node('a', M, 'other:latest'), node('b', M))
  await become(node('a', 'other:latest'))
  expect(await view.resolve('m')).toBe(M)
  await become(node('a', 'other:latest'), node('b', 'other:latest'))
  expect(await view.resolve('m')).toBeUndefined()
})
