import { expect } from 'vitest'
import { until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { modelSite } from './site.ts'

const LIBRARY = [{ name: 'twice' }, { name: 'pinned' }, { name: 'warm' }]
const NODES = ['n1', 'n2', 'n3']

interface Shown {
  version: number
  desired: { models: Record<string, object>; prune: boolean }
  fulfilled: boolean
  drift: { model: string; text: string }[]
  planned: { action: string; model: string; node: string }[]
  actions: { action: string; model: string; node: string }[]
  failures: { action: string; model: string; node: string; error: string; tries: number }[]
}

/** Asks a gateway for what is described, or describes it. */
const desired = async (url: string, state?: object, query = ''): Promise<Shown> => {
  const { status, text } = await send(`${url}/api/models/desired${query}`, state ? { method: 'PUT', body: JSON.stringify(state) } : { method: 'GET' })
  if (status !== 200) throw new Error(`${status} ${text}`)
  return JSON.parse(text) as Shown
}
const fulfilled = (url: string) => until('all is as described', async () => (await desired(url)).fulfilled, 60_000)

test('from nothing to what is described, and back', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: NODES, library: LIBRARY })
  const { url } = site
  expect(await desired(url)).toMatchObject({ version: 0, desired: { models: {}, prune: false }, fulfilled: true, drift: [], actions: [] })
  const state = { models: { twice: { replicas: 2 }, pinned: { nodes: ['n3', 'n2'] } } }
  const dry = await desired(url, state, '?dry_run=true')
  expect(dry.planned.map(({ action, model }) => `${action} ${model}`)).toEqual(['pull twice:latest', 'pull twice:latest', 'pull pinned:latest', 'pull pinned:latest'])
  expect(dry.planned.flatMap(({ model, node }) => (model === 'pinned:latest' ? [node] : [])).toSorted()).toEqual(['n2', 'n3'])
  expect(dry.drift.map(({ text }) => text)).toEqual(['twice:latest: 0 of 2 copies', 'pinned:latest: 0 of 2 copies'])
  expect(await desired(url)).toMatchObject({ version: 0, fulfilled: true })
  expect(await desired(url, state)).toMatchObject({ version: 1, fulfilled: false })
  await fulfilled(url)
  expect(await site.holders('twice:latest')).toHaveLength(2)
  expect(await site.holders('pinned:latest')).toEqual(['n2', 'n3'])

  // The same once more is nothing new.
  expect(await desired(url, { prune: false, models: { pinned: { nodes: ['n3', 'n2'] }, twice: { replicas: 2 } } })).toMatchObject({ version: 1, fulfilled: true, planned: [] })
  expect([await site.sum('twice', 'pulls'), await site.sum('pinned', 'pulls')]).toEqual([2, 2])

  expect(await desired(url, {})).toMatchObject({ desired: { models: {}, prune: false }, fulfilled: true })
  expect((await desired(url, { prune: true })).planned).toHaveLength(4)
  await fulfilled(url)
  for (const model of ['twice:latest', 'pinned:latest']) expect(await site.holders(model)).toEqual([])
  // What was there before is nobody's business.
  for (const node of NODES) expect(await site.holders(`own-${node}:latest`)).toEqual([node])
  expect([await site.sum('twice', 'pulls'), await site.sum('twice', 'deletes')]).toEqual([2, 2])
})
