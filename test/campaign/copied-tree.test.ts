import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ROOT } from '../bench/machine.ts'
import { KEY_MUTATIONS } from '../model/mutations.ts'
import { copyTree, type CopiedTree } from './copied-tree.ts'

let tree: CopiedTree
beforeAll(() => {
  tree = copyTree(ROOT)
})
afterAll(() => tree?.remove())

const scriptOf = (dir: string, file: string): string => readFileSync(join(dir, 'libs/broker/src/lua', file), 'utf8')

test('a gateway of the copy loads the libraries of the copy, and what they depend on from where it is installed', () => {
  const resolved = (name: string, from: string) => createRequire(join(tree.dir, from)).resolve(name)
  expect(resolved('@drover/broker', 'apps/gateway/src/main.ts')).toBe(join(tree.dir, 'libs/broker/src/index.ts'))
  expect(resolved('@drover/core', 'libs/broker/src/index.ts')).toBe(join(tree.dir, 'libs/core/src/index.ts'))
  expect(resolved('bullmq/package.json', 'libs/broker/src/index.ts')).toBe(join(ROOT, 'node_modules/bullmq/package.json'))
})

test.for(KEY_MUTATIONS.map((mutation) => [mutation.name, mutation] as const))('%s can be taken away and put back', ([, mutation]) => {
  const before = scriptOf(ROOT, mutation.file)
  const restore = tree.mutate(mutation)
  expect(scriptOf(tree.dir, mutation.file)).toBe(before.split(mutation.from).join(mutation.to))
  expect(scriptOf(tree.dir, mutation.file)).not.toBe(before)
  restore()
  expect(scriptOf(tree.dir, mutation.file)).toBe(before)
  expect(scriptOf(ROOT, mutation.file)).toBe(before)
})

test.for([['redis.call', /stands \d+ times in take.lua/], ['no such text', /stands 0 times in take.lua/]] as const)('a mutation whose text "%s" does not stand exactly once is an error', ([from, message]) => {
  expect(() => tree.mutate({ name: 'x', file: 'take.lua', from, to: '' })).toThrow(message)
})

test('what is removed is gone', () => {
  const other = copyTree(ROOT)
  other.remove()
  expect(existsSync(other.dir)).toBe(false)
  expect(existsSync(join(ROOT, 'node_modules', 'bullmq'))).toBe(true)
})
