import { expect, test } from 'vitest'
import { canonicalName } from '../names.ts'
import { PullablePattern, pullableMatcher } from './pullable.ts'

test.each<[pattern: string, asked: string, may: boolean]>([
  ['llama3.2', 'llama3.2', true],
  ['llama3.2', 'Llama3.2:latest', true],
  ['llama3.2', 'registry.ollama.ai/library/llama3.2', true],
  ['llama3.2', 'llama3.2:1b', false],
  ['llama3.2:*', 'llama3.2:1b-q4_K_M', true],
  ['llama3.2:*', 'llama3x2:1b', false],
  ['llama3.2:*', 'me/llama3.2:1b', false],
  ['llama*', 'llama3.2:1b', true],
  ['llama*', 'llama.example.com/a/b', false],
  ['*', 'qwen3', true],
  ['*', 'me/qwen3', false],
  ['*/*', 'me/qwen3', true],
  ['*/*', 'example.com/me/qwen3', false],
  ['hf.co/org/*', 'hf.co/Org/Model-GGUF:Q4_K_M', true],
  ['HF.co/Org/*', 'hf.co/org/model', true],
  ['hf.co/org/*', 'hf.co/other/model', false],
  ['hf.co/org/*', 'hf.co.example.com/org/model', false],
  ['hf.co/*/model', 'hf.co/a/model', true],
  ['hf.co/*/model', 'hf.co/a/model:q8_0', false],
  ['localhost:5000/a/b', 'localhost:5000/a/b', true],
  ['localhost:5000/a*/b', 'localhost:5000/ab/b', true],
])('%s and %s: %s', (pattern, asked, may) => {
  expect(PullablePattern.safeParse(pattern).success).toBe(true)
  expect(pullableMatcher([pattern])(canonicalName(asked)!)).toBe(may)
})

test('several patterns, and none', () => {
  const may = pullableMatcher(['a:*', 'b'])
  expect([may('a:1'), may('b:latest'), may('b:1'), may('')]).toEqual([true, true, false, false])
  expect(pullableMatcher([])('a:latest')).toBe(false)
  expect(pullableMatcher(['*'])('')).toBe(false)
})

test.each(['', '/a', 'a b', 'a/', 'a/b/c/d', '../a', 'https://a/b/c', 'a\nb'])('%j is no pattern', (text) => {
  expect(PullablePattern.safeParse(text).success).toBe(false)
})
