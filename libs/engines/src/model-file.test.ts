import { isCanonical } from '@drover/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { derivedDigest, nameOfFile, parameterSize, quantizationTag } from './model-file.ts'

test.each([
  ['/srv/models/Qwen3-8B-Q4_K_M.gguf', 'qwen3-8b-q4_k_m:latest'],
  ['C:\\models\\tiny.GGUF', 'tiny:latest'],
  ['big-00001-of-00003.gguf', 'big:latest'],
  ['..my model (v2)!.gguf', 'my-model-v2-:latest'],
  ['.gguf', 'model:latest'],
])('the file %s is the model %s', (path, name) => {
  expect(nameOfFile(path)).toBe(name)
})

test('any path gives a canonical name', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (path) => isCanonical(nameOfFile(path))))
})

test.each([
  [8_030_261_248, '8.0B'],
  [752_390_000, '752.39M'],
  [295_488, '295.49K'],
  [12, '12'],
])('%d parameters are written %s', (count, text) => {
  expect(parameterSize(count)).toBe(text)
})

test.each([
  ['Q4_K - Medium', 'Q4_K_M'],
  ['Q3_K - Small', 'Q3_K_S'],
  ['all F32', 'F32'],
  ['F16', 'F16'],
  ['IQ2_XXS - 2.0625 bpw', 'IQ2_XXS'],
  ['(guessed) Q8_0', 'Q8_0'],
])('the file type %s is the tag %s', (ftype, tag) => {
  expect(quantizationTag(ftype)).toBe(tag)
})

test('a derived digest is 64 hex digits, the same for the same facts and another for others', () => {
  expect(derivedDigest('a', 1, undefined)).toMatch(/^[0-9a-f]{64}$/)
  expect(derivedDigest('a', 1, undefined)).toBe(derivedDigest('a', 1, undefined))
  expect(derivedDigest('a', 1, undefined)).not.toBe(derivedDigest('a', 1, 2))
})
