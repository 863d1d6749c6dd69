import type { HeldModel, ModelName } from '@drover/core'
import { expect, test } from 'vitest'
import { shownModel } from './show.ts'

test('where the bytes of a model lie is told to gateways, and not to clients', () => {
  const held: HeldModel = { model: 'm:latest' as ModelName, engineName: 'm', digest: 'd', size: 1, modifiedAt: '2026-01-01T00:00:00Z' }
  const shape = { layers: [1], kv: [1], input: 1, output: 1, largest: 1, embedding: 1, feedForward: 1, vocabulary: 1, heads: 1 }
  const told = { modelInfo: { 'general.architecture': 'llama' }, parameters: 'num_ctx 512' }
  expect(shownModel(held.model, held, { ...told, shape })).toEqual(shownModel(held.model, held, told))
})
