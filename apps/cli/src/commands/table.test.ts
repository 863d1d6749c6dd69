import { expect, test } from 'vitest'
import { type Column, tableLines } from './table.ts'

const columns: Column<[string, string]>[] = [
  { title: 'NAME', cell: ([name]) => name },
  { title: 'N', cell: ([, number]) => number, right: true },
]

test('columns are as wide as what stands in them, numbers to the right, nothing is a dash', () => {
  expect(tableLines(columns, [['a-long-name', '1'], ['', '200']], Infinity)).toEqual(['NAME            N', 'a-long-name     1', '-             200'])
})

test('a table too wide is cut where it is widest, and never below what can be read', () => {
  expect(tableLines(columns, [['a-very-long-name', '12']], 14)).toEqual(['NAME         N', 'a-very-l…   12'])
  expect(tableLines(columns, [['a-very-long-name', '12']], 3)).toEqual(['NAME      N', 'a-ver…   12'])
})

test('what a node says cannot steer the terminal', () => {
  expect(tableLines(columns, [['\u001B[2Jname\nmore', '1']], Infinity)[1]).toBe('name more   1')
})
