import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ExchangeRequest } from './dialect.ts'
import { exchange } from './exchange.ts'
import { resumption, type Successor } from './resumed.ts'
import type { GenerationDialect, GenerationRequest } from './route.ts'
import { engines, told, type Script } from './testing/conversation.ts'
import { readTranscript } from './transcript.ts'

const BODIES: Record<GenerationDialect, Record<string, unknown>> = {
  'ollama.chat': { model: 'Asked', messages: [{ role: 'user', content: 'hello' }] },
  'ollama.generate': { model: 'Asked', prompt: 'hello' },
  'openai.chat': { model: 'Asked', messages: [{ role: 'user', content: 'hello' }], stream_options: { include_usage: true } },
  'openai.completions': { model: 'Asked', prompt: 'hello', stream_options: { include_usage: true } },
  'openai.responses': { model: 'Asked', input: 'hello' },
  'anthropic.messages': { model: 'Asked', messages: [{ role: 'user', content: 'hello' }], max_tokens: 1000 },
}
const DIALECTS = Object.keys(BODIES) as GenerationDialect[]

const LLAMA: ExchangeRequest['engine'] = { ...engines.llama, speaks: ['openai.chat', 'openai.completions'] }
const SUCCESSOR: Successor = { sameModel: true, continues: 'prefill', thinks: false }
const PROMPT = 7

const request = (dialect: GenerationDialect, engine: ExchangeRequest['engine'], body: Record<string, unknown> = {}, attempt = 1): GenerationRequest => ({
  dialect, body: { ...BODIES[dialect], ...body }, stream: true, asked: 'Asked', engine, policy: {}, id: '0-abcdefghijklmnopqrstuv', createdAt: Date.UTC(2026, 10, 20, 12, attempt),
})

/** A text of so many pieces as an engine streams it in the format of the path that it was asked on. */
const stream = (path: string, script: Script): string => {
  if (path === '/api/chat') return told('ollama.chat', script)
  if (path === '/api/generate') return told('ollama.generate', script)
  const chat = told('openai.chat', script)
  if (path === '/v1/chat/completions') return chat
  if (path !== '/v1/completions') throw new Error(`no engine here answers ${path}`)
  return chat
    .replaceAll(/"delta":\{(?:"role":"assistant",)?"content":(null|"(?:[^"\\]|\\.)*")\}/g, (_all, text: string) => `"text":${text === 'null' ? '""' : text}`)
    .replaceAll('"delta":{}', '"text":""')
}

/** What a client is sent, event by event, and what the engine was asked. */
const converse = (talk: ReturnType<typeof exchange>, script: Script) => {
  const outs: string[] = []
  if (talk.call) for (const event of stream(talk.call.path, script).split(/(?<=\n\n)|(?<=\n)(?!\n)/)) outs.push(talk.push(event))
  outs.push(talk.finish())
  return { outs: outs.filter((out) => out !== ''), usage: talk.usage }
}

const pieces = fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 5 }).filter((text) => text.isWellFormed()), { minLength: 2, maxLength: 8 })
const scriptOf = (texts: readonly string[]): Script => ({ pieces: texts.map((text) => ({ text })), finish: 'stop', prompt: PROMPT, completion: texts.length })

const pairs = DIALECTS.flatMap((dialect) => [
  { dialect, name: 'an Ollama', engine: engines.ollama },
  // Nothing makes responses out of its API alone.
  ...(dialect === 'openai.responses' ? [] : [{ dialect, name: 'an Ollama without /v1', engine: engines.native }]),
  { dialect, name: 'llama-server', engine: LLAMA },
])

describe.each(pairs)('$dialect on $name', ({ dialect, engine }) => {
  test('an answer that is continued anywhere reads like one that was never cut', () => {
    fc.assert(
      fc.property(pieces, fc.nat(), (texts, place) => {
        const first = request(dialect, engine)
        const undisturbed = converse(exchange(first), scriptOf(texts)).outs
        const sent = undisturbed.slice(0, 1 + (place % (undisturbed.length - 1))).join('')
        const before = readTranscript(first, sent)
        const found = resumption(request(dialect, engine, {}, 2), { sent }, { ...SUCCESSOR, continues: place % 2 ? 'prefill' : 'rendered' })
        if (found.kind !== 'resumed') return expect(found.kind).toBe('complete')
        expect(found.rung).toBe(before.tokens === 0 && !before.choices[0]?.[1].finish ? 'restart' : 'continue')
        const talk = found.exchange(found.render && 'PROMPT')
        const rest = texts.slice(before.tokens)
        const { outs, usage } = converse(talk, { ...scriptOf(rest), prompt: PROMPT + before.tokens, completion: rest.length })
        const joined = readTranscript(first, sent + outs.join(''))
        expect(joined.choices.map(([, { text, finish }]) => ({ text, finish }))).toEqual([{ text: texts.join(''), finish: 'stop' }])
        expect(joined).toMatchObject({ ended: true, whole: true, usage: { promptTokens: PROMPT, completionTokens: texts.length } })
        if (talk.call) {
          expect(usage).toEqual({ promptTokens: PROMPT, completionTokens: texts.length })
          // Those that name who answers in each event, or number them, would show a second writer here.
          const own = JSON.stringify(JSON.parse(talk.call.body))
          if (found.rung === 'continue') expect(own).toContain(JSON.stringify(texts.slice(0, before.tokens).join('')).slice(1, -1))
        }
        // A stream that is not the engine's own is the same to the byte.
        const untouched = engine.speaks.includes(dialect)
        if (!untouched && dialect !== 'ollama.chat' && dialect !== 'ollama.generate') expect(sent + outs.join('')).toBe(undisturbed.join(''))
      }),
    )
  })

  test('a deterministic answer is made again, and only the rest of it is sent', () => {
    fc.assert(
      fc.property(pieces, fc.nat(), (texts, place) => {
        const first = request(dialect, engine)
        const undisturbed = converse(exchange(first), scriptOf(texts)).outs
        const sent = undisturbed.slice(0, 1 + (place % (undisturbed.length - 1))).join('')
        const body = dialect.startsWith('ollama') ? { options: { temperature: 0 } } : { temperature: 0 }
        const found = resumption(request(dialect, engine, body, 2), { sent }, { ...SUCCESSOR, continues: 'none' })
        if (found.kind !== 'resumed' || found.rung !== 'replay') return
        // It cuts its text elsewhere this time.
        const whole = texts.join('')
        const characters = [...whole]
        const half = Math.floor(characters.length / 2)
        const { outs, usage } = converse(found.exchange(), { ...scriptOf([characters.slice(0, half).join(''), characters.slice(half).join('')]), completion: texts.length })
        const joined = readTranscript(first, sent + outs.join(''))
        expect(joined.choices.map(([, { text, finish }]) => ({ text, finish }))).toEqual([{ text: whole, finish: 'stop' }])
        expect(usage).toEqual({ promptTokens: PROMPT, completionTokens: texts.length })
      }),
    )
  })
})

const sentOf = (dialect: GenerationDialect, engine: ExchangeRequest['engine'], script: Script, events: number, body = {}): string =>
  converse(exchange(request(dialect, engine, body)), script).outs.slice(0, events).join('')

describe('the rung', () => {
  const script: Script = { pieces: [{ text: 'one' }, { text: ' two' }], calls: [{ id: 'c', name: 'time', arguments: { a: '1' } }], finish: 'stop', prompt: 1, completion: 9 }
  const rungOf = (body: Record<string, unknown>, successor: Partial<Successor> = {}, sent = sentOf('openai.chat', LLAMA, script, 3)) => {
    const found = resumption(request('openai.chat', LLAMA, body, 2), { sent }, { ...SUCCESSOR, ...successor })
    return found.kind === 'resumed' ? found.rung : found.kind
  }
  const zero = { temperature: 0 }

  test('plain text is continued, and made again only where it cannot be', () => {
    expect(rungOf({})).toBe('continue')
    expect(rungOf(zero)).toBe('continue')
    expect(rungOf(zero, { continues: 'none' })).toBe('replay')
    expect(rungOf({ seed: 4 }, { continues: 'none' })).toBe('replay')
    expect(rungOf({ seed: -1 }, { continues: 'none' })).toBe('impossible')
    expect(rungOf({}, { continues: 'none' })).toBe('impossible')
  })

  test('another model neither continues nor repeats it', () => {
    expect(rungOf(zero, { sameModel: false })).toBe('impossible')
    expect(rungOf(zero, { sameModel: false }, sentOf('openai.chat', LLAMA, script, 1)), 'but begins it').toBe('restart')
  })

  test('what is bound by a schema or a grammar is made again or not at all', () => {
    for (const bound of [{ response_format: { type: 'json_object' } }, { grammar: 'root ::= "a"' }]) {
      expect(rungOf(bound)).toBe('impossible')
      expect(rungOf({ ...bound, ...zero })).toBe('replay')
    }
    expect(rungOf({ response_format: { type: 'text' } })).toBe('continue')
  })

  test('with tools it is continued before a call, by an engine that still reads calls', () => {
    const tools = [{ type: 'function', function: { name: 'time', parameters: {} } }]
    expect(rungOf({ tools })).toBe('continue')
    expect(rungOf({ tools }, { continues: 'rendered' })).toBe('impossible')
    const called = sentOf('openai.chat', LLAMA, script, 4)
    expect(rungOf({ tools }, {}, called)).toBe('impossible')
    expect(rungOf({ tools, ...zero }, {}, called)).toBe('replay')
  })

  test('a call that was half sent is made again under the id that the client knows', () => {
    const sent = sentOf('openai.chat', LLAMA, script, 4)
    const found = resumption(request('openai.chat', LLAMA, zero, 2), { sent }, SUCCESSOR)
    if (found.kind !== 'resumed') return expect.unreachable()
    const { outs } = converse(found.exchange(), { ...script, calls: [{ id: 'another', name: 'time', arguments: { a: '1' } }] })
    const joined = readTranscript(request('openai.chat', LLAMA), sent + outs.join(''))
    expect(joined.choices.map(([, { tools, finish }]) => ({ calls: tools.texts(), finish }))).toEqual([
      { calls: [{ id: 'c', name: 'time', arguments: '{"a":"1"}' }], finish: 'tool_calls' },
    ])
    expect(outs.join('')).not.toContain('another')
  })

  test('an answer that comes out otherwise ends with an honest error, and nothing of it is sent', () => {
    const sent = sentOf('openai.chat', LLAMA, script, 3)
    for (const other of [[{ text: 'one' }, { text: ' three' }], [{ text: 'one' }], [{ thinking: 'hm' }, { text: 'one two' }]]) {
      const found = resumption(request('openai.chat', LLAMA, zero, 2), { sent }, { ...SUCCESSOR, continues: 'none' })
      if (found.kind !== 'resumed') return expect.unreachable()
      const talk = found.exchange()
      expect(() => converse(talk, { pieces: other, finish: 'stop', prompt: 1, completion: 2 })).toThrow(expect.objectContaining({ code: 'node_lost' }))
    }
  })

  test('thoughts are made again where that gives the same; else the text behind them goes on past the template', () => {
    const thinker: Script = { pieces: [{ thinking: 'hm' }, { text: 'one' }, { text: ' two' }], finish: 'stop', prompt: 1, completion: 3 }
    const inThought = sentOf('openai.chat', LLAMA, thinker, 2)
    const behind = sentOf('openai.chat', LLAMA, thinker, 3)
    expect(rungOf({}, {}, inThought)).toBe('impossible')
    expect(rungOf(zero, {}, inThought)).toBe('replay')
    expect(rungOf(zero, {}, behind)).toBe('replay')
    const found = resumption(request('openai.chat', LLAMA, {}, 2), { sent: behind }, SUCCESSOR)
    expect(found).toMatchObject({ kind: 'resumed', rung: 'continue' })
    if (found.kind === 'resumed') expect(JSON.parse(found.render?.body ?? '{}')).toMatchObject({ chat_template_kwargs: { enable_thinking: false } })
  })

  test('a stream that stops within an event is not gone on with', () => {
    const sent = sentOf('openai.chat', LLAMA, script, 3)
    expect(rungOf({}, {}, sent.slice(0, -4))).toBe('impossible')
  })

  test('all but its end was sent: only that is written', () => {
    const plain: Script = { pieces: [{ text: 'one' }], finish: 'stop', prompt: 1, completion: 1 }
    for (const dialect of DIALECTS) {
      const whole = converse(exchange(request(dialect, LLAMA)), plain).outs.join('')
      expect(resumption(request(dialect, LLAMA, {}, 2), { sent: whole }, SUCCESSOR)).toMatchObject({ kind: 'complete', usage: { completionTokens: 1 } })
    }
    const chat = converse(exchange(request('openai.chat', LLAMA)), plain).outs.join('')
    const unended = chat.slice(0, chat.indexOf('data: [DONE]'))
    const found = resumption(request('openai.chat', LLAMA, {}, 2), { sent: unended }, SUCCESSOR)
    if (found.kind !== 'resumed') return expect.unreachable()
    const talk = found.exchange()
    expect(talk.call).toBeUndefined()
    expect(talk.finish()).toContain('data: [DONE]')
  })
})

describe('limits', () => {
  const limits: Record<GenerationDialect, Record<string, unknown>> = {
    'ollama.chat': { options: { num_predict: 10 } },
    'ollama.generate': { options: { num_predict: 10 } },
    'openai.chat': { max_completion_tokens: 10 },
    'openai.completions': { max_tokens: 10 },
    'openai.responses': { max_output_tokens: 10 },
    'anthropic.messages': { max_tokens: 10 },
  }
  const script = scriptOf(['a', 'b', 'c'])
  /** Events until three tokens have been sent. */
  const three = (dialect: GenerationDialect, engine: ExchangeRequest['engine']) => {
    const { outs } = converse(exchange(request(dialect, engine)), script)
    return outs.slice(0, outs.findIndex((_, i) => readTranscript(request(dialect, engine), outs.slice(0, i + 1).join('')).tokens === 3) + 1).join('')
  }

  test.each(pairs)('what was said counts against the limit: $dialect on $name', ({ dialect, engine }) => {
    for (const continues of ['prefill', 'rendered'] as const) {
      const found = resumption(request(dialect, engine, limits[dialect], 2), { sent: three(dialect, engine) }, { ...SUCCESSOR, continues })
      if (found.kind !== 'resumed') return expect.unreachable()
      const asked = JSON.parse(found.exchange('PROMPT').call?.body ?? '{}') as { options?: { num_predict?: number }; max_tokens?: number }
      expect(asked.options?.num_predict ?? asked.max_tokens).toBe(7)
    }
  })

  test.each(pairs)('an answer that had reached its limit gets only its end: $dialect on $name', ({ dialect, engine }) => {
    const full = JSON.parse(JSON.stringify(limits[dialect]).replace('10', '3')) as Record<string, unknown>
    const sent = three(dialect, engine)
    const found = resumption(request(dialect, engine, full, 2), { sent }, SUCCESSOR)
    if (found.kind !== 'resumed') return expect.unreachable()
    const { outs, usage } = converse(found.exchange('PROMPT'), { ...scriptOf(['x']), finish: 'length', prompt: PROMPT + 3, completion: 1 })
    const joined = readTranscript(request(dialect, engine), sent + outs.join(''))
    expect(joined.choices.map(([, { text, finish }]) => ({ text, finish }))).toEqual([{ text: 'abc', finish: 'length' }])
    expect(usage).toEqual({ promptTokens: PROMPT, completionTokens: 3 })
  })
})

test('a stop sequence that began in what was sent ends the answer where it is complete', () => {
  const first = request('openai.chat', LLAMA, { stop: ['END.'] })
  const sent = sentOf('openai.chat', LLAMA, scriptOf(['go ', 'EN']), 3)
  const found = resumption({ ...first, createdAt: 1 }, { sent }, SUCCESSOR)
  if (found.kind !== 'resumed') return expect.unreachable()
  const talk = found.exchange()
  const events = stream('/v1/chat/completions', scriptOf(['D', '. and more'])).split(/(?<=\n\n)/)
  let out = ''
  for (const event of events) {
    out += talk.push(event)
    if (talk.satisfied) break
  }
  expect(talk.satisfied).toBe(true)
  out += talk.finish()
  const joined = readTranscript(first, sent + out)
  expect(joined.choices.map(([, { text, finish }]) => ({ text, finish }))).toEqual([{ text: 'go EN', finish: 'stop' }])
  expect(joined.ended).toBe(true)
})

test('an answer that nobody reads before its end goes on from what was kept of it', () => {
  for (const { dialect, engine } of pairs) {
    const texts = ['one', ' two', ' three', ' four']
    const whole = { ...request(dialect, engine), stream: false }
    const talk = exchange(whole)
    for (const event of stream(talk.call!.path, scriptOf(texts)).split(/(?<=\n\n)|(?<=\n)(?!\n)/).slice(0, 3)) talk.push(event)
    const saved = talk.unsaved!()
    expect(saved?.tokens).toBeGreaterThan(0)
    expect(talk.unsaved!(), 'what was told once is not told again').toBeUndefined()
    const found = resumption(whole, { sent: '', saved: saved! }, SUCCESSOR)
    expect(found).toMatchObject({ kind: 'resumed', rung: 'continue' })
    if (found.kind !== 'resumed') continue
    const rest = texts.slice(saved!.tokens)
    const { outs, usage } = converse(found.exchange('PROMPT'), { ...scriptOf(rest), prompt: PROMPT + saved!.tokens })
    expect(outs.join('')).toContain('one two three four')
    expect(usage).toEqual({ promptTokens: PROMPT, completionTokens: 4 })
  }
})
