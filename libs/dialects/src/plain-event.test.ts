import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isPlain } from './plain-event.ts'
import { recorded } from './recorded/index.ts'
import { ask, engines, eventsOf } from './testing/conversation.ts'

const spelt = {
  'ollama.chat': (content: string) => `{"model":"m:1b","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":${content}},"done":false}\n`,
  'ollama.generate': (content: string) => `{"model":"m:1b","created_at":"2026-01-01T00:00:00Z","response":${content},"done":false}\n`,
  'openai.chat': (content: string) =>
    `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m:1b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":${content}},"finish_reason":null}]}\n\n`,
} as const
const formats = Object.keys(spelt) as (keyof typeof spelt)[]

describe.each(formats)('%s', (format) => {
  const event = spelt[format]

  test('any text makes a plain event', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => isPlain(format, event(JSON.stringify(text)))))
  })

  test('a plain event is valid JSON, whatever stands for its text', () => {
    const piece = fc.oneof(fc.constantFrom('"', '\\', '\\"', '\\u00', '\\x', '\n', '\u0001', '},"done":true', '"}', ','), fc.string())
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const raw = event(`"${pieces.join('')}"`)
        if (!isPlain(format, raw)) return
        expect(eventsOf(raw)).toHaveLength(1)
        expect(Object.keys(eventsOf(raw)[0] as object)).toEqual(Object.keys(eventsOf(event('""'))[0] as object))
      }),
      { numRuns: 1000 },
    )
  })

  test('one that says more is not plain', () => {
    const raw = event('"a"')
    expect(isPlain(format, raw)).toBe(true)
    expect(isPlain(format, raw.trimEnd())).toBe(false)
    expect(isPlain(format, raw + raw)).toBe(false)
    expect(isPlain(format, raw.replace('"content":"a"', '"content":"a","thinking":"b"').replace('"response":"a"', '"response":"a","thinking":"b"'))).toBe(false)
    expect(isPlain(format, raw.replace('"done":false', '"done":true').replace('"finish_reason":null', '"finish_reason":"stop"'))).toBe(false)
    expect(isPlain(format, raw.replace('{"', '{"error":"no","'))).toBe(false)
  })

  test('plain events are renamed as parsed ones are, also when the engine changes its mind', () => {
    const said = ['a', '"model":"m:1b"', 'b'].map((text) => event(JSON.stringify(text)))
    said.push(event('"c"').replace('m:1b', 'other'), event('"d"'))
    const out = ask(format, { engine: engines.ollama }).push(said.join(''))
    expect(out).toBe(said.join('').replaceAll(/"model":"(?:m:1b|other)"/g, '"model":"Asked"').replaceAll('\\"model\\":\\"Asked\\"', '\\"model\\":\\"m:1b\\"'))
  })
})

test.each([
  ['ollama.chat', 'chat-end.own.ndjson'], ['ollama.generate', 'generate-length.own.ndjson'], ['openai.chat', 'openai-length.own.sse'], ['anthropic.messages', 'messages-length.own.sse'],
] as const)('each piece of text that Ollama sends in %s is plain', (format, file) => {
  const events = recorded(`ollama/${file}`).split(file.endsWith('ndjson') ? /(?<=\n)/ : /(?<=\n\n)/)
  const pieces = events.filter((raw) => /"(content|response|text)":"[^"]+"/.test(raw) && !raw.includes('"done":true'))
  expect(pieces.length).toBeGreaterThan(4)
  expect(pieces.filter((raw) => !isPlain(format, raw))).toEqual([])
})

test('nearly all that llama-server sends is plain', () => {
  const events = recorded('chat.sse').split(/(?<=\n\n)/)
  expect(events.filter((raw) => !isPlain('openai.chat', raw)).length).toBeLessThanOrEqual(4)
  expect(events.filter((raw) => isPlain('openai.chat', raw)).length).toBeGreaterThan(4)
})
