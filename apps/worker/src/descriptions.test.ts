import type { ModelDescription, ModelName } from '@drover/core'
import type { Engine } from '@drover/engines'
import { expect, onTestFinished, test } from 'vitest'
import { descriptions, type DescriptionsOptions } from './descriptions.ts'

/** An engine that holds models by these digests, and a registry. */
const set = (digests: string[], describe: (digest: string) => Promise<ModelDescription | undefined>) => {
  const there = new Map<string, ModelDescription>()
  const asked: string[] = []
  const engine = {
    id: 'e',
    describe: async ({ digest }: { digest: string }) => {
      asked.push(digest)
      return describe(digest)
    },
  } as unknown as Engine
  const held = digests.map((digest) => ({ model: `${digest}:latest` as ModelName, engineName: digest, digest, size: 1, modifiedAt: '' }))
  const failures: string[] = []
  const slots = { seats: () => [{ engine, view: { held, loaded: [], slotsPerModel: 1, maxLoaded: 1 } }] } as unknown as DescriptionsOptions['slots']
  const all = descriptions({
    registry: { keepDescriptions: async (list) => list.filter((digest) => !there.has(digest)), describe: async (digest, description) => void there.set(digest, description) },
    slots,
    onFailure: (_engine, { digest }) => void failures.push(digest),
    onError: (error) => void failures.push(String(error)),
  })
  onTestFinished(() => all.stop())
  return { all, there, asked, failures }
}

test('every digest is asked for once, however often there is news', async () => {
  const { all, there, asked } = set(['a', 'b', 'a'], async (digest) => ({ modelInfo: { digest } }))
  for (let i = 0; i < 5; i += 1) all.tell()
  await expect.poll(() => [...there.keys()]).toEqual(['a', 'b'])
  all.tell()
  await all.stop()
  expect(asked).toEqual(['a', 'b'])
})

test('what another node has told is not asked for', async () => {
  const { all, there, asked } = set(['a', 'b'], async () => ({ modelInfo: {} }))
  there.set('a', { modelInfo: {} })
  all.tell()
  await expect.poll(() => there.size).toBe(2)
  expect(asked).toEqual(['b'])
})

test('an engine that cannot say it is asked again later, and complained of once', async () => {
  const { all, there, asked, failures } = set(['a', 'b'], async (digest) => {
    if (digest === 'a') throw new Error('no')
    return { modelInfo: {} }
  })
  all.tell()
  await expect.poll(() => there.size).toBe(1)
  all.tell()
  await expect.poll(() => asked).toEqual(['a', 'b', 'a'])
  expect(failures).toEqual(['a'])
})
