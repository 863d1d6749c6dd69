import { expect, test } from 'vitest'
import { ApiKey } from './api-key.ts'
import { holdOf, type Entrance } from './keepers.ts'

const key = (id: string, more: object = {}) => ApiKey.parse({ id, name: id, hash: 'a'.repeat(64), created_at: '2026-01-01T00:00:00.000Z', ...more })
const admin = key('admin', { scopes: ['admin'] })
const passing = key('passing', { scopes: ['admin'], expires_at: '2030-01-01T00:00:00Z' })
const app = key('app')
const [loopback, beyond, operated]: Entrance[] = [
  { hasOperator: false, opensWithoutKeys: true },
  { hasOperator: false, opensWithoutKeys: false },
  { hasOperator: true, opensWithoutKeys: false },
] as const

const NOTHING = { kind: 'nothing' }
const ADMIN = { kind: 'keeper', id: 'admin' }
test.each<[string, { before?: ApiKey; after?: ApiKey }, ApiKey[], Entrance, object | undefined]>([
  ['the first key manages keys', { after: admin }, [], loopback!, NOTHING],
  ['the first key does not', { after: app }, [], loopback!, undefined],
  ['the first key manages keys for a while', { after: passing }, [], loopback!, undefined],
  ['a further key', { after: app }, [passing, admin], loopback!, ADMIN],
  ['a further key where none stays that manages', { after: app }, [passing], loopback!, undefined],
  ['the first key where there is an operator', { after: app }, [], operated!, NOTHING],
  ['a key that manages nothing goes', { before: app }, [], beyond!, NOTHING],
  ['a key that manages for a while goes', { before: passing }, [app], beyond!, NOTHING],
  ['one of two that manage goes', { before: key('second', { scopes: ['admin'] }) }, [app, admin], loopback!, ADMIN],
  ['the last that manages goes, and others stay', { before: admin }, [app, passing], loopback!, undefined],
  ['the last of all goes', { before: admin }, [], loopback!, { kind: 'alone' }],
  ['the last of all goes where nobody comes in without', { before: admin }, [], beyond!, undefined],
  ['the last of all goes where there is an operator', { before: admin }, [], operated!, NOTHING],
  ['the last that manages is to manage no more', { before: admin, after: { ...app, id: admin.id } }, [], loopback!, undefined],
  ['the last that manages gets another secret', { before: admin, after: { ...admin, hash: 'b'.repeat(64) } }, [app], beyond!, NOTHING],
])('%s', (_what, change, others, entrance, hold) => {
  expect(holdOf(change, others, others.length, entrance)).toEqual(hold)
})

test('what cannot be read is no keeper, but it is there', () => {
  expect(holdOf({ before: admin }, [], 1, loopback!)).toBeUndefined()
})
