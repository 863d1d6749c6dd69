import { BrokerError, toErrorInfo, type Frame } from '@drover/core'
import { dialects } from '@drover/dialects'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { JobEvents, readPlace } from './job-events.ts'

const SSE = dialects['openai.chat']
const LINES = dialects['ollama.chat']
const head = { status: 200, contentType: 'text/whatever', node: 'n' }
const completed: Frame = { end: { outcome: 'completed', attempt: 1 } }

/** What a reader at `last` is sent of a job's frames: text, and the status of an answer that has not begun. */
const read = (frames: Frame[], { dialect = SSE, stream = true, last = '0' } = {}) => {
  const from = readPlace(last)!
  const events = new JobEvents({ dialect, stream, from })
  let text = ''
  let status: number | undefined
  events.to({
    open: () => (status ??= 200),
    frame: (frame) => {
      if (frame.head) status ??= frame.head.status
      text += frame.text ?? ''
      if (frame.end && frame.end.outcome !== 'completed') text += events.form.errorEvent(new BrokerError(frame.end.error!.code, frame.end.error!.message))
    },
    lost: (error) => (text += events.form.errorEvent(error)),
  })
  for (const frame of frames.slice(from.frame - 1)) events.frame(frame, 1)
  return { text, status }
}

const idsOf = (text: string) => [...text.matchAll(/^id: (.*)\n/gm)].map(([, id]) => id ?? '')
const withoutIds = (text: string) => text.replaceAll(/^id: .*\n/gm, '')

test.each<[string, ReturnType<typeof readPlace>]>([
  ['0', { frame: 1, chars: 0 }],
  ['7', { frame: 8, chars: 0 }],
  ['7-12', { frame: 7, chars: 12 }],
  ...['', '-1', '7-', '07', '0-3', '7-12345678', '1e3', ' 7', 'abc'].map((id): [string, undefined] => [id, undefined]),
])('the id %j', (id, place) => {
  expect(readPlace(id)).toEqual(place)
})

test('events of a stream of events pass as they are, each with an id: a frame’s last one stands for all of it', () => {
  const frames: Frame[] = [{ head, text: 'data: {"a":1}\n\nevent: x\ndata: {"b":2}\n\n' }, { ...completed, text: 'data: [DONE]\n\n' }]
  expect(read(frames).text).toBe('id: 1-15\ndata: {"a":1}\n\nid: 1\nevent: x\ndata: {"b":2}\n\nid: 2\ndata: [DONE]\n\n')
})

test('lines become events', () => {
  expect(read([{ head, text: '{"a":1}\n{"b":2}\n' }, completed], { dialect: LINES }).text).toBe('id: 1-8\ndata: {"a":1}\n\nid: 1\ndata: {"b":2}\n\n')
})

test('a body is one event, at the end, whatever an earlier attempt had gathered', () => {
  const frames: Frame[] = [{ text: 'half', saved: { tokens: 3, text: 'abc' } }, { reset: true, head, text: '{"a":\n' }, { ...completed, text: '1}' }]
  expect(read(frames, { dialect: LINES, stream: false }).text).toBe('id: 3\ndata: {"a":\ndata: 1}\n\n')
})

test('an answer that is one body although a stream was asked for is one event', () => {
  expect(read([{ ...completed, head, text: '{"a":1}' }], { dialect: LINES }).text).toBe('id: 1\ndata: {"a":1}\n\n')
})

describe('a job that failed', () => {
  const failed: Frame = { text: 'data: 1\n\n', end: { outcome: 'failed', attempt: 1, error: toErrorInfo(new BrokerError('engine_failed', 'gone')) } }

  test('ends with the error of its dialect, which has the last id', () => {
    const { text, status } = read([failed])
    expect(idsOf(text)).toEqual(['1-9', '1'])
    expect(text.endsWith(`id: 1\n${SSE.errorEvent(new BrokerError('engine_failed', 'gone'))}`)).toBe(true)
    expect(status).toBe(200)
    expect(idsOf(read([failed], { last: '1-9' }).text)).toEqual(['1'])
  })

  test('tells it as an event where its dialect has lines', () => {
    expect(read([{ ...failed, text: '{"a":1}\n' }], { dialect: LINES }).text).toBe('id: 1-8\ndata: {"a":1}\n\nid: 1\ndata: {"error":"gone"}\n\n')
  })
})

test('that a gateway stops is no error of the job', () => {
  const { form } = new JobEvents({ dialect: SSE, stream: true, from: { frame: 1, chars: 0 } })
  expect(form.errorEvent(new BrokerError('draining', 'server busy'))).toBe(': server busy\n\n')
})

test('an answer that starts again goes on for who has read nothing, and ends for who has', () => {
  const frames: Frame[] = [{ head, text: 'data: 1\n\n' }, { reset: true, text: 'data: 2\n\n' }]
  expect(read(frames).text).toMatch(/^id: 1\ndata: 1\n\ndata: \{"error".*half sent/)
  expect(read(frames, { last: '1' }).text).toMatch(/^data: \{"error".*half sent/)
  expect(read([{ resumed: 'restart' }, { reset: true, text: 'data: 2\n\n' }]).text).toBe('id: 2\ndata: 2\n\n')
})

test('who has read all is told so by a status', () => {
  const frames: Frame[] = [{ head, text: 'data: 1\n\n' }, completed]
  expect(read(frames, { last: '1' })).toEqual({ text: '', status: 204 })
})

const event = (dialect: typeof SSE) =>
  fc.oneof({ weight: 9, arbitrary: fc.string({ maxLength: 12 }) }, { weight: 1, arbitrary: fc.constantFrom('\n', '\r\n', 'data: ') }).map((said) => {
    const data = JSON.stringify({ said })
    return dialect === LINES ? `${data}\n` : said.startsWith('\r') ? `data: ${data}\r\n\r\n` : `event: e\ndata: ${data}\n\n`
  })

test.each([['events', SSE], ['lines', LINES]] as const)('%s in frames that are cut anywhere: from behind each of them all of the rest is read, once', (_name, dialect) => {
  fc.assert(
    fc.property(fc.array(event(dialect), { minLength: 1, maxLength: 12 }), fc.array(fc.nat(200), { maxLength: 12 }), fc.boolean(), (events, cuts, endApart) => {
      const all = events.join('')
      const places = [...new Set([0, ...cuts.map((cut) => cut % all.length)])].toSorted((a, b) => a - b)
      const frames: Frame[] = places.map((from, i) => ({ text: all.slice(from, places[i + 1]) }))
      if (endApart) frames.push(completed)
      else Object.assign(frames.at(-1)!, completed)
      const whole = read(frames, { dialect }).text
      expect(withoutIds(whole)).toBe(dialect === LINES ? events.map((line) => `data: ${line}\n`).join('') : all)
      const ids = idsOf(whole)
      expect(ids).toHaveLength(events.length)
      let place = 0
      for (const [i, id] of ids.entries()) {
        place = whole.indexOf(`id: ${id}\n`, place)
        const next = ids[i + 1]
        const rest = next === undefined ? '' : whole.slice(whole.indexOf(`id: ${next}\n`, place + 1))
        expect(read(frames, { dialect, last: id }).text).toBe(rest)
      }
    }),
    { numRuns: 300 },
  )
})
