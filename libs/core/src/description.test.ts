import { expect, test } from 'vitest'
import { DESCRIPTION_CHARS, descriptionText, ModelDescription } from './description.ts'

const whole: ModelDescription = { capabilities: ['completion'], modelInfo: { 'general.architecture': 'llama', 'llama.context_length': 8192 }, parameters: 'stop "x"', template: '{{ .Prompt }}' }
const read = (description: ModelDescription) => ModelDescription.parse(JSON.parse(descriptionText(description)))

test('a description of usual size is kept whole', () => {
  expect(read({ ...whole, license: 'MIT', tensors: [{ name: 'a' }] })).toEqual({ ...whole, license: 'MIT', tensors: [{ name: 'a' }] })
})

test('what is read least goes first where a description is too long', () => {
  const tensors = Array.from({ length: 5_000 }, (_, i) => ({ name: `blk.${i}.weight`, type: 'Q4_K', shape: [4096, 4096] }))
  expect(read({ ...whole, license: 'MIT', tensors })).toEqual({ ...whole, license: 'MIT' })
  expect(read({ ...whole, license: 'x'.repeat(DESCRIPTION_CHARS), tensors })).toEqual(whole)
})

test('no engine can make one that is longer than the bound', () => {
  const modelInfo = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`key.${i}`, 'v'.repeat(400)]))
  const text = descriptionText({ ...whole, modelInfo: { ...whole.modelInfo, ...modelInfo, long: 'v'.repeat(DESCRIPTION_CHARS) }, template: 't'.repeat(DESCRIPTION_CHARS) })
  expect(text.length).toBeLessThanOrEqual(DESCRIPTION_CHARS)
  expect(JSON.parse(text)).toMatchObject({ modelInfo: whole.modelInfo })
})

test('where the bytes of a model lie is kept even where little else is', () => {
  const layers = Array.from({ length: 512 }, (_, i) => 1e12 + i)
  const shape = { layers, kv: layers, input: 1, output: 2, largest: 2, embedding: 3, feedForward: 6, vocabulary: 4, heads: 5 }
  const description = { ...whole, modelInfo: { ...whole.modelInfo, long: 'v'.repeat(DESCRIPTION_CHARS) } }
  expect(read({ ...description, shape })).toEqual({ ...whole, parameters: undefined, template: undefined, shape })
  expect(read({ ...description, shape: { ...shape, layers: Array.from({ length: 20_000 }, () => 1) } })).toMatchObject({ modelInfo: whole.modelInfo })
})
