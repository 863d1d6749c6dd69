import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { answer, ask, engines, heard, SPOKEN, told, type Script } from './testing/conversation.ts'
import { scriptOf } from './testing/scripts.ts'

const word = fc.string({ unit: 'binary', maxLength: 6 }).filter((text) => text.isWellFormed())

const script = scriptOf(word)

const expected = ({ pieces, calls = [], finish }: Script) => ({
  text: pieces.map(({ text = '' }) => text).join(''),
  thinking: pieces.map(({ thinking = '' }) => thinking).join(''),
  calls: calls.map(({ name, arguments: given }) => ({ name, arguments: given })),
  cut: finish === 'length',
})

const split = (text: string, places: number[]) => {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...cuts].map((from, index) => text.slice(from, cuts[index] ?? text.length))
}

/** Every dialect on every engine, with the format in which that engine answers it. */
const pairs = SPOKEN.flatMap((dialect) => [
  { dialect, name: 'an Ollama', engine: engines.ollama, format: dialect },
  { dialect, name: 'llama-server', engine: engines.llama, format: 'openai.chat' as const },
  { dialect, name: 'an Ollama without /v1', engine: engines.native, format: dialect === 'openai.chat' ? ('ollama.chat' as const) : dialect },
])

describe.each(pairs)('$dialect on $name', ({ dialect, engine, format }) => {
  test('streamed or in one body, the client hears what the engine said', () => {
    fc.assert(
      fc.property(script, (script) => {
        const said = told(format, script)
        expect(heard(dialect, answer(dialect, said, { engine }))).toEqual(expected(script))
        expect(heard(dialect, answer(dialect, said, { engine, stream: false }))).toEqual(expected(script))
      }),
    )
  })

  test('where the engine cuts its text makes no difference', () => {
    fc.assert(
      fc.property(script, fc.array(fc.nat(), { maxLength: 20 }), fc.boolean(), (script, places, stream) => {
        const said = told(format, script)
        expect(answer(dialect, split(said, places), { engine, stream })).toBe(answer(dialect, said, { engine, stream }))
      }),
    )
  })

  test('the answer names the model as the client did', () => {
    const said = told(format, { pieces: [{ text: '"model":"engine/model"' }], finish: 'stop', prompt: 1, completion: 1 })
    for (const stream of [true, false]) {
      const out = answer(dialect, said, { engine, stream })
      expect(out).not.toContain('"model":"engine/model"')
      expect(out).toContain('"model":"Asked"')
      expect(heard(dialect, out).text).toBe('"model":"engine/model"')
    }
  })

  test('usage is known at the end, and the end is known', () => {
    const talk = ask(dialect, { engine })
    expect(talk).toMatchObject({ ended: false, usage: undefined })
    talk.push(told(format, { pieces: [{ text: 'x' }], finish: 'stop', prompt: 7, completion: 3 }))
    expect(talk).toMatchObject({ ended: true, usage: { promptTokens: 7, completionTokens: 3 } })
    expect(talk.finish()).toBe('')
  })

  test('an answer that stops anywhere before its end is a failure, and never looks complete', () => {
    const said = told(format, { pieces: [{ text: 'one' }, { text: ' two' }], finish: 'stop', prompt: 1, completion: 2 })
    // The last event without the line's end is whole all the same: so cut before its last character.
    const whole = said.trimEnd().length
    for (let length = 0; length < whole; length++) {
      const talk = ask(dialect, { engine })
      const out = talk.push(said.slice(0, length))
      expect(out).not.toMatch(/"done":true|\[DONE\]/)
      expect(() => talk.finish(), `${length} of ${whole}`).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
      expect(talk.ended).toBe(false)
    }
  })

  test('after the end nothing is sent, whatever comes', () => {
    const said = told(format, { pieces: [{ text: 'one' }], finish: 'stop', prompt: 1, completion: 1 })
    expect(answer(dialect, [said, said, 'data: nonsense\n\n'], { engine })).toBe(answer(dialect, said, { engine }))
  })

  test('an error event fails the exchange after what came before it', () => {
    const said = told(format, { pieces: [{ text: 'one' }, { text: ' two' }], finish: 'stop', prompt: 1, completion: 2 })
    const error = format === 'openai.chat' ? 'data: {"error":{"code":500,"message":"out of memory"}}\n\n' : '{"error":"out of memory"}\n'
    const before = said.slice(0, said.indexOf(' two')).replace(/[^\n]*$/, '')
    const failure = expect.objectContaining({ code: 'engine_failed', message: 'out of memory' })
    const atOnce = ask(dialect, { engine })
    expect(heard(dialect, atOnce.push(before + error)).text).toBe('one')
    expect(() => atOnce.finish()).toThrow(failure)
    const apart = ask(dialect, { engine })
    apart.push(before)
    expect(() => apart.push(error)).toThrow(failure)
    const collected = ask(dialect, { engine, stream: false })
    expect(() => collected.push(before + error)).toThrow(failure)
  })

  test.each(['nonsense', '7', '[]', '{"foo":1}', '<html>'])('an event that is %s is not the protocol', (text) => {
    const event = format === 'openai.chat' ? `data: ${text}\n\n` : `${text}\n`
    for (const stream of [true, false]) {
      expect(() => ask(dialect, { engine, stream }).push(event)).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
    }
  })
})
