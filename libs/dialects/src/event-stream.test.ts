import fc from 'fast-check'
import { expect, test } from 'vitest'
import { EVENT_CHARS, LineCutter, SseCutter, type EventCutter } from './event-stream.ts'

const cut = (cutter: EventCutter, pieces: string[]) => {
  const events: { raw: string; data: string }[] = []
  const take = (raw: string, data: string) => void events.push({ raw, data })
  for (const piece of pieces) cutter.push(piece, take)
  cutter.close(take)
  return events
}

/** A text cut at the given places. */
const split = (text: string, places: number[]) => {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...cuts].map((from, index) => text.slice(from, cuts[index] ?? text.length))
}

const line = fc.constantFrom('data: {"a":1}', 'data:x', ': ping', '', '', 'event: e', 'data: [DONE]', '\r', 'data: ü\r', 'id: 1')

test('wherever a stream is cut, the same events come out', () => {
  const text = fc.array(line, { maxLength: 30 }).map((lines) => lines.join('\n'))
  fc.assert(
    fc.property(text, fc.array(fc.nat(), { maxLength: 20 }), (text, places) => {
      expect(cut(new SseCutter(), split(text, places))).toEqual(cut(new SseCutter(), [text]))
      expect(cut(new LineCutter(), split(text, places))).toEqual(cut(new LineCutter(), [text]))
    }),
  )
})

test('comments, pings and other fields are skipped, and an event of one data line passes as it came', () => {
  const stream = ': ping\n\ndata: {"a":1}\n\n: ping\ndata:{"b":2}\r\n\r\nevent: x\n\ndata: [DONE]\n\n'
  expect(cut(new SseCutter(), [stream])).toEqual([
    { raw: 'data: {"a":1}\n\n', data: '{"a":1}' },
    { raw: 'data:{"b":2}\r\n\r\n', data: '{"b":2}' },
    { raw: 'data: [DONE]\n\n', data: '[DONE]' },
  ])
})

test('an event of several lines is written as one', () => {
  expect(cut(new SseCutter(), ['data: {"a":\ndata: 1}\n\nid: 7\ndata: 2\nevent: x\n\n'])).toEqual([
    { raw: 'data: {"a": 1}\n\n', data: '{"a":\n1}' },
    { raw: 'data: 2\n\n', data: '2' },
  ])
})

test('blank lines between JSON lines are skipped, and a last line without its end counts', () => {
  expect(cut(new LineCutter(), ['{"a":1}\n\n \r\n{"b":2}\r\n{"c"', ':3}'])).toEqual([
    { raw: '{"a":1}\n', data: '{"a":1}\n' },
    { raw: '{"b":2}\r\n', data: '{"b":2}\r\n' },
    { raw: '{"c":3}\n', data: '{"c":3}\n' },
  ])
})

test.each([
  ['lines', () => new LineCutter(), 'x'],
  ['server-sent events', () => new SseCutter(), 'data: x'],
  ['server-sent events of many lines', () => new SseCutter(), 'data: xxxxxxxx\n'],
])('an event that never ends is given up at the limit: %s', (_name, cutter, piece) => {
  const endless = cutter()
  const push = () => endless.push(piece.repeat(100_000), () => {})
  expect(() => {
    for (let pushed = 0; pushed <= EVENT_CHARS + piece.length * 100_000; pushed += piece.length * 50_000) push()
  }).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
})

test('a byte order mark before the stream is no part of its first event, wherever it is cut', () => {
  for (const pieces of [['\uFEFFdata: 1\n\ndata: 2\n\n'], ['\uFEFF', 'data: 1\n\n', 'data: 2\n\n'], ['\uFEFFda', 'ta: 1\n\ndata: 2\n\n']])
    expect(cut(new SseCutter(), pieces).map(({ data }) => data)).toEqual(['1', '2'])
})
