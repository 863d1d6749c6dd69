import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readDocument } from './document.ts'

const folder = mkdtempSync(join(tmpdir(), 'drover-document-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = join(folder, 'models.yaml')
const read = (text: string) => {
  writeFileSync(file, text)
  return readDocument(file)
}

test('what is wrong in a file can be told by its line', () => {
  const { value, whereIs } = read('# which\nmodels:\n  qwen3:8b:\n    replicas: many\n    nodes:\n      - n1\n      - 7\nprune: true\n')
  expect(value).toEqual({ models: { 'qwen3:8b': { replicas: 'many', nodes: ['n1', 7] } }, prune: true })
  for (const [path, line] of [[['models', 'qwen3:8b', 'replicas'], 4], [['models', 'qwen3:8b', 'nodes', 1], 7], [['models', 'qwen3:8b', 'numCtx'], 3], [['prune'], 8], [[], 1]] as const)
    expect(whereIs(path)).toBe(`${file}:${line}`)
})

test('JSON is read, and an empty file is nothing', () => {
  expect(read('{"models": {"a": {"replicas": 2}}}').value).toEqual({ models: { a: { replicas: 2 } } })
  expect(read('').value).toBeNull()
})

const BILLION = ['a: &a [x]', ...[...'bcdefg'].map((name, i) => `${name}: &${name} [${Array.from({ length: 9 }, () => `*${'abcdef'[i]}`).join(',')}]`)].join('\n')

test.each([
  ['models:\n  a: {replicas: 2\n', /:\d: /],
  ['a: 1\na: 2\n', ':2: Map keys must be unique'],
  ['a: &one 1\nb: *one\nc:\n  - *two\nd: *three\n', ':4: Unresolved alias (the anchor must be set before the alias): two'],
  ['a: *one\nb: &one 1\n', ':1: Unresolved alias'],
  [BILLION, ':7: Excessive alias count'],
])('a file that is none is refused with the line: %j', (text, problem) => expect(() => read(text)).toThrow(problem))

test('a file that is not there is named', () => expect(() => readDocument(join(folder, 'none'))).toThrow('none cannot be read'))
