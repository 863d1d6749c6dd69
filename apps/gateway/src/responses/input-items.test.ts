import { expect, test } from 'vitest'
import { pageOf, readPage } from './input-items.ts'

const items = ['a', 'b', 'c', 'd'].map((id) => ({ id }))
const page = (query: Record<string, string>) => pageOf(items, readPage((name) => query[name]))
const ids = ({ data }: { data: readonly { id: string }[] }) => data.map(({ id }) => id).join('')

test('pages go on behind an item, in either order, to the last', () => {
  expect(page({})).toMatchObject({ object: 'list', first_id: 'd', last_id: 'a', has_more: false })
  expect(page({ limit: '3', order: 'asc' })).toMatchObject({ first_id: 'a', last_id: 'c', has_more: true })
  expect(ids(page({ limit: '3', order: 'asc', after: 'c' }))).toBe('d')
  expect(ids(page({ limit: '2', after: 'd' }))).toBe('cb')
  expect(page({ after: 'a' })).toEqual({ object: 'list', data: [], first_id: null, last_id: null, has_more: false })
})

test.each([{ limit: '0' }, { limit: '101' }, { limit: 'x' }, { limit: '-1' }, { order: 'up' }, { after: 'z' }])('%j is refused', (query) => {
  expect(() => page(query as Record<string, string>)).toThrow(expect.objectContaining({ status: 400 }))
})
