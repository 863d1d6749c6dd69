import { BrokerError, toErrorInfo, type Frame } from '@drover/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Reply } from '../reply.ts'
import { ResponseEvents } from './response-events.ts'

const queued = { id: 'resp_x', status: 'queued' }
const event = (type: string, number: number, more: object = {}) => `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: number, ...more })}\n\n`
const before = [event('response.created', 0, { response: queued }), event('response.queued', 1, { response: queued })]
const own = [2, 3, 4, 5, 6].map((number) => event('response.output_text.delta', number, { delta: 'x'.repeat(number) }))
const completed: Frame = { end: { outcome: 'completed', attempt: 1 } }
const failed: Frame = { end: { outcome: 'failed', attempt: 1, error: toErrorInfo(new BrokerError('engine_failed', 'gone')) } }
const asEnded = { id: 'resp_x', status: 'failed' }

/** What a reader behind event `after` is sent. */
const read = async (frames: Frame[], { after = -1, readable = true } = {}) => {
  let text = ''
  const over = Promise.withResolvers<string>()
  const events = new ResponseEvents({ queued, after, ended: () => Promise.resolve(readable ? JSON.stringify(asEnded) : undefined) })
  const reply = {
    open: () => undefined,
    frame: (frame: Frame) => {
      text += frame.text ?? ''
      if (frame.end) over.resolve(text + (frame.end.outcome === 'completed' ? '' : events.form.errorEvent(new BrokerError('engine_failed', 'gone'))))
    },
    lost: (error: BrokerError) => over.resolve(text + events.form.errorEvent(error)),
  }
  events.to(reply as unknown as Reply)
  for (const frame of frames) events.frame(frame, 1)
  return over.promise
}

const cutAnywhere = (text: string, places: number[]): Frame[] => {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...cuts].map((from, index) => ({ text: text.slice(from, cuts[index] ?? text.length) }))
}

describe('events in frames that are cut anywhere', () => {
  test('from behind each of them all of the rest is read, once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(), { maxLength: 12 }), fc.integer({ min: -1, max: 6 }), async (places, after) => {
        const frames = cutAnywhere(own.join(''), places)
        const last = frames.pop()!
        expect(await read([...frames, { ...last, ...completed }], { after })).toBe([...before, ...own].slice(after + 1).join(''))
      }),
    )
  })

  test('one that broke off ends with an event that says so, behind the last whole one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: -1, max: 6 }), async (place, after) => {
        const all = own.slice(0, 4).join('')
        const whole = [...before, ...own].filter((each, index) => index < 2 || all.slice(0, place % all.length).includes(each))
        const at = Math.min(after, whole.length - 1)
        const told = [...whole, event('response.failed', whole.length, { response: asEnded })]
        expect(await read([{ text: all.slice(0, place % all.length) }, failed], { after: at })).toBe(told.slice(at + 1).join(''))
      }),
    )
  })
})

test('who has read how it broke off reads nothing more', async () => {
  expect(await read([{ text: own[0]! }, failed], { after: 3 })).toBe('')
})

test('where it cannot be told how it ended, the stream ends with the error', async () => {
  const text = await read([{ text: own[0]! }, failed], { readable: false })
  expect(text).toContain('event: error\n')
  expect(text).not.toContain('response.failed')
})

test('an attempt that begins anew is seen by nobody who has read nothing of it, and is an error for others', async () => {
  const again: Frame[] = [{ reset: true, text: own.join('') }, completed]
  expect(await read([{ text: 'event: half' }, ...again])).toBe([...before, ...own].join(''))
  expect(await read([{ text: own[0]! }, ...again])).toContain('had to start again')
  expect(await read(again, { after: 4 })).toContain('had to start again')
})

test('what is lost before anybody listens is told all the same', () => {
  const events = new ResponseEvents({ queued, after: -1, ended: () => Promise.resolve(undefined) })
  events.lost(new BrokerError('node_lost', 'gone'))
  let lost: BrokerError | undefined
  events.to({ lost: (error: BrokerError) => (lost = error) } as unknown as Reply)
  expect(lost?.code).toBe('node_lost')
})
