import { expect, test } from 'vitest'
import { barLine, Bars, Steps } from './bars.ts'

const layer = (completed: number, digest = 'a') => ({ status: `pulling ${digest}`, digest, total: 2_000_000_000, completed })

test('a bar has the share, and the bytes, where there is room', () => {
  expect(barLine(layer(1_000_000_000), 100)).toBe(`pulling a  50% ▕${'█'.repeat(15)}${' '.repeat(15)}▏ 1.0 GB/2.0 GB`)
  expect(barLine(layer(2_000_000_000), 100)).toContain(`100% ▕${'█'.repeat(30)}▏`)
  expect(barLine(layer(1_000_000_000), 20)).toBe('pulling a  50%')
  expect(barLine({ status: 'pulling manifest' }, 8)).toBe('pulling ')
  expect(barLine({ status: 'x', total: 5, completed: 9 }, 100)).toContain('100%')
})

test('each thing has one line, in the order in which they came', () => {
  const bars = new Bars()
  for (const progress of [{ status: 'pulling manifest' }, layer(1), layer(0, 'b'), layer(2_000_000_000), { status: 'success' }]) bars.take(progress)
  expect(bars.lines(16)).toEqual(['pulling manifest', 'pulling a 100%', 'pulling b   0%', 'success'])
})

test('in a pipe each status stands once, and bytes a tenth at a time', () => {
  const steps = new Steps()
  const lines = [{ status: 'pulling manifest' }, { status: 'pulling manifest' }, layer(0), layer(100_000_000), layer(250_000_000), layer(399_000_000), layer(2_000_000_000), { status: 'success' }].flatMap((progress) => steps.take(progress) ?? [])
  expect(lines).toEqual(['pulling manifest', 'pulling a 0% 0 B/2.0 GB', 'pulling a 12% 250 MB/2.0 GB', 'pulling a 100% 2.0 GB/2.0 GB', 'success'])
})
