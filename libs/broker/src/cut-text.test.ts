import { FRAME_BYTES } from '@drover/core'
import { expect, test } from 'vitest'
import { cutAt, toFrames } from './cut-text.ts'

const lines = (count: number, chars: number) => Array.from({ length: count }, (_, i) => `${String(i).padEnd(chars - 1, 'x')}\n`).join('')
const events = (count: number, chars: number) => Array.from({ length: count }, (_, i) => `event: e\ndata: ${String(i).padEnd(chars - 17, 'x')}\n\n`).join('')

for (const [what, text, end] of [['lines', lines(900, 100), '\n'], ['server-sent events', events(900, 100), '\n\n'], ['long events', events(20, 20_000), '\n\n']] as const)
  test(`what is stored at once ends between two events: ${what}`, () => {
    const pieces: string[] = []
    for (let rest = text; rest !== ''; rest = rest.slice(cutAt(rest, FRAME_BYTES))) pieces.push(rest.slice(0, cutAt(rest, FRAME_BYTES)))
    expect(pieces.join('')).toBe(text)
    expect(pieces.length).toBeGreaterThan(5)
    for (const piece of pieces) expect(piece.endsWith(end)).toBe(true)
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThanOrEqual(what === 'long events' ? 4 * FRAME_BYTES : FRAME_BYTES)
  })

test('a text without events is stored 64 KB at once, and no character is cut', () => {
  const text = `x${'🙂'.repeat(100_000)}`
  const at = cutAt(text, FRAME_BYTES)
  expect(at).toBeGreaterThan(4 * FRAME_BYTES - 3)
  expect(text.slice(0, at).isWellFormed()).toBe(true)
})

test('frames are no longer than they may be, and end between events where they can', () => {
  for (const text of [events(600, 100), `${'🙂'.repeat(30_000)}`, `${events(3, 20_000)}${lines(10, 50)}`]) {
    const frames = toFrames(text, { reset: true })
    expect(frames.map((frame) => frame.text).join('')).toBe(text)
    expect(frames.map(({ reset }) => reset)).toEqual([true, ...Array.from({ length: frames.length - 1 }, () => undefined)])
    for (const { text: part = '' } of frames) {
      expect(part.length).toBeLessThanOrEqual(FRAME_BYTES)
      expect(part.isWellFormed()).toBe(true)
    }
  }
  for (const { text = '' } of toFrames(events(600, 100), {})) expect(text.endsWith('\n\n')).toBe(true)
  expect(toFrames('', {})).toEqual([{ text: '' }])
  expect(toFrames('', { reset: true })).toEqual([{ reset: true }])
})
