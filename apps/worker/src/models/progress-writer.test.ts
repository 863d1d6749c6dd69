import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { ProgressWriter } from './progress-writer.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }))
afterEach(() => void vi.useRealTimers())

const lease = () => {
  const lines: string[] = []
  let room: (() => void) | undefined
  const facts = { full: false }
  return {
    lines,
    facts,
    free: () => room?.(),
    append: (text: string) => (lines.push(...text.trimEnd().split('\n')), !facts.full),
    room: (then: () => void) => void (room = then),
  }
}
const layer = (completed: number) => ({ status: 'pulling a', digest: 'a', total: 100, completed })

test('bytes are told at a pace, and the last of them at once', () => {
  const to = lease()
  const writer = new ProgressWriter(to)
  writer.take({ status: 'pulling manifest' })
  for (let done = 1; done <= 99; done += 1) writer.take(layer(done))
  expect(to.lines).toHaveLength(2)
  vi.advanceTimersByTime(250)
  expect(to.lines.map((line) => (JSON.parse(line) as { completed?: number }).completed)).toEqual([undefined, 1, 99])
  writer.take(layer(100))
  expect(to.lines).toHaveLength(4)
})

test('what takes long is told less often', () => {
  const to = lease()
  const writer = new ProgressWriter(to)
  writer.take(layer(1))
  vi.advanceTimersByTime(3_600_000)
  writer.take(layer(2))
  vi.advanceTimersByTime(4_999)
  expect(to.lines).toHaveLength(1)
  vi.advanceTimersByTime(1)
  expect(to.lines).toHaveLength(2)
})

test('while there is no room only the newest is kept', () => {
  const to = lease()
  const writer = new ProgressWriter(to)
  to.facts.full = true
  writer.take({ status: 'pulling manifest' })
  for (const done of [10, 20, 30]) {
    writer.take(layer(done))
    vi.advanceTimersByTime(1_000)
  }
  expect(to.lines).toHaveLength(1)
  to.facts.full = false
  to.free()
  expect(to.lines.slice(1).map((line) => (JSON.parse(line) as { completed: number }).completed)).toEqual([30])
})
