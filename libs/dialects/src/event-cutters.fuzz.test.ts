import { existsSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BrokerError } from '@drover/core'
import { Utf8Text } from '../../engines/src/utf8-text.ts'
import type { Exchange } from './dialect.ts'
import { EVENT_CHARS, LineCutter, SseCutter, type EventCutter } from './event-stream.ts'
import { recorded } from './recorded/index.ts'
import { exchangeOf as exchangeOfLlama, LLAMA_CASES } from './testing/llama-cases.ts'
import { callOf, canStream, exchangeOf as exchangeOfOllama, fileOf, OLLAMA_CASES, waysOf } from './testing/ollama-cases.ts'
import { BODY_CHARS } from './whole-call.ts'

/** A read of a socket, bytes. */
const READ = 64 * 1024

interface Talk {
  name: string
  /** What the engine answered, as a stream of events. */
  said: string
  exchange(stream: boolean): Exchange
}

const FOLDER = new URL('recorded/llama/', import.meta.url)

/** Recorded streams in all formats that engines answer in, with the requests that they answer. */
const talks: readonly Talk[] = [
  ...LLAMA_CASES.filter(({ name }) => existsSync(new URL(`${name}.sse`, FOLDER))).map((one) => ({
    name: one.name,
    said: recorded(`llama/${one.name}.sse`),
    exchange: (stream: boolean) => exchangeOfLlama(one, stream),
  })),
  ...OLLAMA_CASES.filter(canStream).flatMap((one) =>
    waysOf(one).flatMap((way) => {
      const call = callOf(one, way, true)
      return call ? [{ name: `${one.name} (${way})`, said: recorded(fileOf(one, way, call)), exchange: (stream: boolean) => exchangeOfOllama(one, way, stream) }] : []
    }),
  ),
].filter(({ said }) => said.length < 30_000)
const sse = talks.filter(({ said }) => /^(data|event): /.test(said))
const aTalk = fc.constantFrom(...talks)
const places = fc.array(fc.nat(), { maxLength: 20 })

/** The same in pieces. */
const split = <T extends string | Buffer>(all: T, places: readonly number[]): T[] => {
  const cuts = [...new Set(places.map((place) => place % (all.length + 1)))].toSorted((a, b) => a - b)
  const part = (from: number, to?: number) => (typeof all === 'string' ? all.slice(from, to) : all.subarray(from, to)) as T
  return [0, ...cuts].map((from, at) => part(from, cuts[at]))
}

interface Outcome {
  out: string
  /** The code of the error that ended it. */
  error: string | undefined
  /** Its bytes are not UTF-8. */
  broken: boolean
  ended: boolean
  usage: unknown
}

/** What becomes of an answer whose bytes arrive so: the worker's own way from bytes to text, and then to the client's events. */
const hear = (exchange: Exchange, chunks: readonly Buffer[]): Outcome => {
  const decoder = new Utf8Text()
  let out = ''
  const outcome = (error?: string, broken = false): Outcome => ({ out, error, broken, ended: exchange.ended, usage: exchange.usage })
  try {
    for (const chunk of chunks) {
      const text = decoder.push(chunk)
      if (text === undefined) return outcome('engine_protocol', true)
      if (text !== '') out += exchange.push(text)
    }
    if (decoder.open) return outcome('engine_protocol', true)
    out += exchange.finish()
    return outcome()
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    return outcome(error.code)
  }
}

/** A way to spoil bytes: at which place, how much of them, and what stands there then. */
const damage = fc.record({
  at: fc.nat(),
  length: fc.oneof(fc.constant(0), fc.nat(3), fc.nat(200)),
  instead: fc.oneof(
    fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom('\n', '\n\n', '\r', '\r\n', '{', '}', '"', '\\', 'data: ', ': x\n', 'event: x\n', 'null', '\uFEFF', '\u2028', '\0', 'data: [DONE]\n\n', 'é', '😀').map((text) => Buffer.from(text)),
  ),
})
type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never

const spoilt = (bytes: Buffer, all: readonly Damage[]): Buffer => {
  let now = bytes
  for (const { at, length, instead } of all) {
    const from = at % (now.length + 1)
    now = Buffer.concat([now.subarray(0, from), instead, now.subarray(from + length)])
  }
  return now
}

describe('a spoilt stream', () => {
  test.each([true, false])('has one outcome wherever its bytes are cut, and ends in an error of ours or well (streamed: %s)', (stream) => {
    let failed = 0
    fc.assert(
      fc.property(aTalk, fc.array(damage, { minLength: 1, maxLength: 3 }), places, (talk, all, places) => {
        const bytes = spoilt(Buffer.from(talk.said), all)
        const whole = hear(talk.exchange(stream), [bytes])
        const cut = hear(talk.exchange(stream), split(bytes, places))
        if (whole.error !== undefined) failed += 1
        // A read that is not UTF-8 says nothing at all, so how much was heard before depends on the reads: then no more than that.
        if (whole.broken) expect(cut.error).toBeDefined()
        else expect(cut).toEqual(whole)
      }),
      { numRuns: 250 },
    )
    // Damage that is never noticed would mean that nothing was tested.
    expect(failed).toBeGreaterThan(25)
  })

  test('that was cut off is never taken for a whole one', () => {
    fc.assert(
      fc.property(aTalk, fc.nat(), fc.boolean(), (talk, at, stream) => {
        const bytes = Buffer.from(talk.said)
        const { error, ended } = hear(talk.exchange(stream), [bytes.subarray(0, at % bytes.length)])
        expect(error === undefined).toBe(ended)
      }),
      { numRuns: 200 },
    )
  })
})

/** Data of the events in a text, by the rules of server-sent events, line after line; an event without its end counts. */
const dataIn = (text: string): string[] => {
  const events: string[] = []
  let data: string[] = []
  for (const line of [...text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line)), '']) {
    if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''))
    if (line !== '' || data.length === 0) continue
    events.push(data.join('\n'))
    data = []
  }
  return events
}

/** What a stream says, however its events are spelt. */
const parsed = (out: string) => (/^(data|event):/.test(out) ? dataIn(out).map((data) => (data.startsWith('{') ? (JSON.parse(data) as unknown) : data)) : out)

describe('server-sent events', () => {
  const line = fc.oneof(
    fc.constantFrom('', '', '', 'data', 'data:', 'data: ', 'data:  two', ': comment', ':', 'event: a', 'event:b', 'id: 7', 'retry: 10', 'nonsense', ' data: no', 'data: {"a":"\u2028"}', 'data: a\rb', 'data: [DONE]'),
    fc.string({ unit: 'grapheme', maxLength: 6 }).filter((text) => !/[\r\n]/.test(text)).map((text) => `data: ${text}`),
  )
  const text = fc.tuple(fc.array(fc.tuple(line, fc.constantFrom('\n', '\n', '\r\n')).map((parts) => parts.join('')), { maxLength: 25 }), fc.boolean()).map(
    ([lines, whole]) => (whole ? lines.join('') : lines.join('').replace(/\r?\n$/, '')),
  )

  test.each([false, true])('are those that the standard finds, none lost or repeated, and say the same when they are read again (types kept: %s)', (keepTypes) => {
    const cut = (pieces: readonly string[]) => {
      const cutter: EventCutter = new SseCutter(keepTypes)
      const events: { raw: string; data: string }[] = []
      for (const piece of pieces) cutter.push(piece, (raw, data) => void events.push({ raw, data }))
      cutter.close((raw, data) => void events.push({ raw, data }))
      return events
    }
    fc.assert(
      fc.property(text, places, (text, places) => {
        const events = cut(split(text, places))
        expect(events.map(({ data }) => data)).toEqual(dataIn(text))
        const again = cut([events.map(({ raw }) => raw).join('')])
        expect(again.map(({ data }) => data)).toEqual(events.map(({ data }) => data.replaceAll('\n', ' ')))
      }),
      { numRuns: 500 },
    )
  })

  test('are heard alike however a server may write them', () => {
    const styled = fc.record({
      ends: fc.constantFrom('\n', '\r\n'),
      between: fc.constantFrom('', ': ping\n\n', ':\n', 'id: 1\n', 'retry: 1\n\n'),
      broken: fc.boolean(),
      last: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.constantFrom(...sse), styled, places, (talk, { ends, between, broken, last }, places) => {
        let text = talk.said.replaceAll('\n\n', `\n\n${between}`)
        // Between tokens of JSON a line may end.
        if (broken) text = text.replaceAll('data: {', 'data: {\ndata: ')
        if (!last) text = text.trimEnd()
        const bytes = Buffer.from(text.replaceAll('\n', ends))
        const plain = Buffer.from(talk.said)
        expect(hear(talk.exchange(false), split(bytes, places))).toEqual(hear(talk.exchange(false), [plain]))
        const streamed = hear(talk.exchange(true), split(bytes, places))
        const before = hear(talk.exchange(true), [plain])
        expect({ ...streamed, out: parsed(streamed.out) }).toEqual({ ...before, out: parsed(before.out) })
      }),
      { numRuns: 100 },
    )
  })
})

describe('bounds', () => {
  const oneOfEach = [...new Map(talks.map((talk) => [talk.name.split('-')[0], talk])).values()]

  test.each(oneOfEach.map((talk) => [talk.name, talk] as const))('an engine that never ends its event is given up: %s', (_name, talk) => {
    for (const [stream, piece] of [[true, 'x'.repeat(READ)], [false, `data: ${'x'.repeat(READ)}`]] as const) {
      const exchange = talk.exchange(stream)
      let pushed = 0
      const push = () => {
        for (; pushed <= BODY_CHARS + READ; pushed += piece.length) exchange.push(piece)
      }
      expect(push).toThrow(BrokerError)
      expect(pushed).toBeLessThanOrEqual(BODY_CHARS + 2 * READ)
    }
  })

  test.each([
    ['lines', () => new LineCutter(), '', '\n'],
    ['server-sent events', () => new SseCutter(), 'data: ', '\n\n'],
  ])('a giant event passes up to the limit and not beyond, in pieces of any size: %s', (_name, cutter, begin, end) => {
    for (const size of [1_000, READ]) {
      for (const [length, passes] of [[EVENT_CHARS - 100, true], [EVENT_CHARS + READ + 100, false]] as const) {
        const giant = cutter()
        const taken: number[] = []
        const feed = () => {
          giant.push(begin, () => undefined)
          for (let left = length; left > 0; left -= size) giant.push('x'.repeat(Math.min(size, left)), (_raw, data) => void taken.push(data.length))
          giant.push(end, (_raw, data) => void taken.push(data.length))
        }
        if (passes) feed()
        else expect(feed).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
        expect(taken).toHaveLength(passes ? 1 : 0)
      }
    }
  })
})
