import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { JsonObject } from './delta.ts'
import { isObject } from './delta.ts'
import { recorded } from './recorded/index.ts'
import { ASKED, callOf, canStream, exchangeOf, fileOf, OLLAMA_CASES, ownFileOf, waysOf, type OllamaCase, type Way } from './testing/ollama-cases.ts'
import { expectedEvents, OLLAMA_EXCEPTIONS } from './testing/ollama-exceptions.ts'
import { eventsOf, shapesOf, type Said } from './testing/shapes.ts'

const FOLDER = new URL('recorded/ollama/', import.meta.url)

const VARYING = new Set(['id', 'created', 'created_at', 'total_duration', 'load_duration', 'prompt_eval_duration', 'eval_duration', 'logprob'])

/** The same without what is new in every answer. */
const steady = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(steady)
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, VARYING.has(name) ? typeof field : steady(field)]))
}

const own = (theCase: OllamaCase, stream: boolean): Said[] => eventsOf(recorded(ownFileOf(theCase, stream)))

const said = (theCase: OllamaCase, way: Way, stream: boolean): string => {
  const call = callOf(theCase, way, stream)
  return call ? recorded(fileOf(theCase, way, call)) : ''
}

/** What the client gets from Drover. */
const answer = (theCase: OllamaCase, way: Way, stream: boolean): string => {
  const talk = exchangeOf(theCase, way, stream)
  const text = said(theCase, way, stream)
  return (text === '' ? '' : talk.push(text)) + talk.finish()
}

const object = (value: unknown): JsonObject => (isObject(value) ? value : {})
const list = (value: unknown): JsonObject[] => (Array.isArray(value) ? value.filter(isObject) : [])

/** What a native answer says, however it was cut into events. */
const heard = (events: readonly Said[]) => {
  const all = events.map(({ data }) => ({ ...object(data), ...object(object(data)['message']) }) as JsonObject)
  const joined = (name: string) => all.map((event) => event[name] ?? '').join('')
  const { done, done_reason: reason, prompt_eval_count: prompt, eval_count: completion } = all.at(-1) ?? {}
  return {
    text: joined('content') + joined('response'), thinking: joined('thinking'),
    calls: all.flatMap((event) => list(event['tool_calls']).map(({ function: called }) => called)),
    tokens: all.flatMap((event) => list(event['logprobs']).map(({ token, bytes, top_logprobs: others }) => ({ token, bytes, others: list(others).length }))),
    done, reason, prompt, completion,
  }
}

/** The one or more vectors of a native answer, one behind the other. */
const vectorsOf = ([body]: readonly Said[]): number[] => {
  const { embeddings, embedding } = object(body?.data)
  return [embeddings ?? embedding].flat(2) as number[]
}

const TALKS = (way: Way) => OLLAMA_CASES.filter((one) => waysOf(one).includes(way)).flatMap((theCase) =>
  (canStream(theCase) ? [true, false] : [false]).map((stream) => [theCase.name, stream ? 'streamed' : 'whole', theCase, stream] as const))

describe('Ollama’s API on a llama-server', () => {
  const native = TALKS('llama')

  test.each(native)('%s, %s, has the shape that a real Ollama gives it, but for what is listed', (_name, _how, theCase, stream) => {
    const expected = expectedEvents('llama', theCase, stream, own(theCase, stream))
    expect(shapesOf(eventsOf(answer(theCase, 'llama', stream)))).toEqual(shapesOf(expected))
  })

  test.each(native.filter(([name]) => !name.startsWith('embed')))('%s, %s, says what a real Ollama says with the same weights', (_name, _how, theCase, stream) => {
    const [ours, theirs] = [heard(eventsOf(answer(theCase, 'llama', stream))), heard(own(theCase, stream))]
    expect(ours).toEqual(theirs)
    expect(ours).toMatchObject({ done: true })
  })

  test.each(['embed', 'embed-dimensions', 'embeddings'])('%s: the vectors are a real Ollama’s', (name) => {
    const theCase = OLLAMA_CASES.find((one) => one.name === name)
    if (!theCase) throw new Error(`there is no case ${name}`)
    const [ours, theirs] = [vectorsOf(eventsOf(answer(theCase, 'llama', false))), vectorsOf(own(theCase, false))]
    // The older route gives vectors as the model made them; Ollama (v0.33) does so for some architectures, and a llama-server does not tell its own.
    const length = name === 'embeddings' ? Math.hypot(...ours) : 1
    expect(ours).toEqual(theirs.map((value) => expect.closeTo(value * length, 4) as number))
    expect(ours.length).toBeGreaterThanOrEqual(4)
  })
})

describe('an API that the Ollama has itself', () => {
  test.each(TALKS('ollama'))('%s, %s, is the Ollama’s own answer, but for what is listed', (_name, _how, theCase, stream) => {
    const expected = expectedEvents('ollama', theCase, stream, own(theCase, stream))
    expect(steady(eventsOf(answer(theCase, 'ollama', stream)))).toEqual(steady(expected))
  })

  test.each(TALKS('ollama').filter(([, , theCase, stream]) => stream && theCase.dialect.startsWith('ollama.')))('%s: the stream passes to the byte, but for the model’s name', (_name, _how, theCase) => {
    expect(answer(theCase, 'ollama', true)).toBe(said(theCase, 'ollama', true).replaceAll(`"model":"${theCase.model}"`, `"model":"${ASKED}"`))
  })
})

test.each(TALKS('policy'))('%s, %s, through /api where the node’s policy wants it, has the shape of the Ollama’s own answer, but for what is listed', (_name, _how, theCase, stream) => {
  expect(callOf(theCase, 'policy', stream)?.path).toMatch(/^\/api\//)
  const expected = expectedEvents('policy', theCase, stream, own(theCase, stream))
  expect(shapesOf(eventsOf(answer(theCase, 'policy', stream)))).toEqual(shapesOf(expected))
})

// After more than 30 equal pieces in a row it stops, and says neither that it is done nor that it is not.
test.each(['generate-length', 'openai-length'])('%s: an Ollama that gives up on an answer has not completed it', (name) => {
  const theCase = OLLAMA_CASES.find((one) => one.name === name)
  if (!theCase) throw new Error(`there is no case ${name}`)
  const text = recorded(`ollama-gives-up.${name === 'generate-length' ? 'ndjson' : 'sse'}`)
  for (const stream of [true, false]) {
    const talk = exchangeOf(theCase, 'ollama', stream)
    expect(talk.push(text)).toBe(stream ? text.replaceAll('"model":"small"', `"model":"${ASKED}"`) : '')
    expect(() => talk.finish()).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
    expect(talk.ended).toBe(false)
  }
})

describe('the recordings', () => {
  const wanted = new Set(OLLAMA_CASES.flatMap((theCase) =>
    (canStream(theCase) ? [true, false] : [false]).flatMap((stream) => [
      ownFileOf(theCase, stream),
      ...waysOf(theCase).flatMap((way) => {
        const call = callOf(theCase, way, stream)
        return call ? [fileOf(theCase, way, call)] : []
      }),
    ])))

  test('are those of the cases', () => {
    expect(readdirSync(FOLDER).map((file) => `ollama/${file}`).toSorted()).toEqual([...wanted].toSorted())
  })

  test('each exception is needed by some', () => {
    for (const exception of OLLAMA_EXCEPTIONS) {
      const changes = exception.ways.filter((way) => TALKS(way).some(([, , theCase, stream]) => {
        const events = own(theCase, stream)
        return JSON.stringify(exception.apply(events, theCase, stream)) !== JSON.stringify(events)
      }))
      expect(changes, exception.name).toEqual(exception.ways)
    }
  })
})
