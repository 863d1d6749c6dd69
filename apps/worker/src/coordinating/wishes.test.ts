import type { ModelName } from '@drover/core'
import type { ModelFile } from '@drover/engines'
import { expect, test } from 'vitest'
import { ClusterWishes, wishFor } from './wishes.ts'

const file = (model: string, contextLength?: number) => ({ model: model as ModelName, facts: { ...(contextLength !== undefined && { contextLength }) } }) as ModelFile
const usual = { slots: 2, context: 4_096 }

test('what is set for a model goes before what is usual, and no context is longer than the model was trained for', () => {
  const wishes = ClusterWishes.parse('{"Big": {"nodes": ["a"], "context": 8192, "slots": 1, "flash_attention": false, "kv_type": "q8_0"}, "other:7b": {"layers": {"a": [0, 4], "b": [4, 9]}}}')
  expect(wishFor(file('big:latest', 32_768), wishes, usual)).toEqual({ nodes: ['a'], context: 8_192, slots: 1, flashAttention: false, kvType: 'q8_0' })
  expect(wishFor(file('big:latest', 2_048), wishes, usual)).toMatchObject({ context: 2_048 })
  expect(wishFor(file('other:7b'), wishes, usual)).toMatchObject({ layers: { a: [0, 4], b: [4, 9] }, ...usual })
  expect(wishFor(file('third:latest', 512), wishes, usual)).toEqual({ slots: 2, context: 512 })
})

test.each(['{', '[]', '{"a b": {}}', '{"m": {"kv_type": "q3"}}', '{"m": {"layer": {}}}', '{"m": {"slots": 0}}', '{"m": {"layers": {"a": [1]}}}'])('what makes no sense is refused: %s', (text) => {
  expect(ClusterWishes.safeParse(text).success).toBe(false)
})
