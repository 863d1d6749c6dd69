import { expect, test } from 'vitest'
import { canonicalName } from './names.ts'

test.each([
  ['llama3.2', 'llama3.2:latest'],
  ['Llama3.2:8B', 'llama3.2:8b'],
  ['registry.ollama.ai/library/llama3.2', 'llama3.2:latest'],
  ['somebody/model', 'somebody/model:latest'],
  ['hf.co/a/b:Q4_K_M', 'hf.co/a/b:q4_k_m'],
  ['localhost:5000/a/b', 'localhost:5000/a/b:latest'],
  ['llama3.2:local', 'llama3.2:latest'],
  ['llama3.2:8b:LOCAL', 'llama3.2:8b'],
  ['', undefined],
  ['a b', undefined],
  ['a/b/c/d', undefined],
  ['a:b:c', undefined],
])('%s is %s', (text, name) => {
  expect(canonicalName(text)).toBe(name)
})
