import { existsSync, readdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Utf8Text } from '../../engines/src/utf8-text.ts'
import type { JsonObject } from './delta.ts'
import type { Exchange } from './dialect.ts'
import { recorded } from './recorded/index.ts'
import { ASKED, callOf, exchangeOf, LLAMA_CASES, ownCall, type LlamaCase } from './testing/llama-cases.ts'
import { ASKED_OTHERWISE, expectedBody, expectedStream, LLAMA_EXCEPTIONS, steady, steadyText, VARYING } from './testing/llama-exceptions.ts'
import { heardNative, nativeOf } from './testing/llama-native.ts'

const FOLDER = new URL('recorded/llama/', import.meta.url)

/** The engine's own body. */
const ownBody = ({ name }: LlamaCase) => JSON.parse(recorded(`llama/${name}.json`)) as JsonObject

/** What the engine answered to what Drover asks for a stream, or for one body. */
const said = (theCase: LlamaCase, stream: boolean): string => {
  const files = stream ? [`${theCase.name}.sse`] : [`${theCase.name}.body.sse`, `${theCase.name}.sse`]
  const file = files.find((one) => existsSync(new URL(one, FOLDER))) ?? `${theCase.name}.json`
  return recorded(`llama/${file}`)
}

const bytesOf = (text: string, places: readonly number[]): Buffer[] => {
  const bytes = Buffer.from(text)
  const cuts = [...new Set(places.map((place) => place % (bytes.length + 1)))].toSorted((a, b) => a - b)
  return [0, ...cuts].map((from, at) => bytes.subarray(from, cuts[at] ?? bytes.length))
}

/** What the client gets of bytes that arrive so, through the worker's own way from bytes to text. */
const fed = (talk: Exchange, chunks: readonly Buffer[]): string => {
  const decoder = new Utf8Text()
  const out = chunks.map((chunk) => {
    const text = decoder.push(chunk)
    if (text === undefined) throw new Error('the recording is not UTF-8')
    return talk.push(text)
  })
  return out.join('') + talk.finish()
}

const answer = (theCase: LlamaCase, stream: boolean, places: readonly number[] = []) =>
  fed(exchangeOf(theCase, stream), bytesOf(said(theCase, stream), places))

const places = fc.array(fc.nat(), { maxLength: 30 })
const byName = (cases: readonly LlamaCase[]) => cases.map((one) => [one.name, one] as const)
const is = (...dialects: readonly string[]) => ({ dialect }: LlamaCase) => dialects.includes(dialect)

const streamed = LLAMA_CASES.filter((one) => callOf(one, true).body['stream'] === true)
const untouched = streamed.filter(is('openai.chat', 'openai.completions', 'anthropic.messages'))
const bodied = LLAMA_CASES.filter((one) => !is('ollama.chat', 'ollama.generate', 'ollama.embed', 'ollama.embeddings', 'openai.responses')(one))
const native = LLAMA_CASES.filter(is('ollama.chat', 'ollama.generate'))
const chats = LLAMA_CASES.filter((one) => is('openai.chat')(one) && one.body['n'] === undefined && one.name !== 'chat-tools-cut')

describe.each(byName(LLAMA_CASES))('%s', (_name, theCase) => {
  test('wherever its bytes are cut, also inside of a character, the same comes out', () => {
    for (const stream of [true, false]) {
      const whole = answer(theCase, stream)
      const all = Buffer.from(said(theCase, stream))
      const inside = [...all.keys()].filter((at) => ((all[at] ?? 0) & 0xc0) === 0x80)
      expect(answer(theCase, stream, inside)).toBe(whole)
      expect(answer(theCase, stream, [...all.keys()])).toBe(whole)
      fc.assert(
        fc.property(places, (cuts) => {
          expect(answer(theCase, stream, cuts)).toBe(whole)
        }),
        { numRuns: 20 },
      )
    }
  })

  test('bytes that stop anywhere before the end are a failure', () => {
    for (const stream of [true, false]) {
      const all = said(theCase, stream)
      fc.assert(
        fc.property(fc.nat(all.trimEnd().length - 1), (length) => {
          const talk = exchangeOf(theCase, stream)
          const out = talk.push(all.slice(0, length))
          expect(out).not.toMatch(/\[DONE\]|"done":true|message_stop|response\.completed/)
          expect(() => talk.finish()).toThrow(expect.objectContaining({ code: 'engine_protocol' }))
          expect(talk.ended).toBe(false)
        }),
        { numRuns: 20 },
      )
    }
  })
})

test.each(byName(untouched))('%s: the stream is the engine’s own to the byte, but for what is listed', (_name, theCase) => {
  expect(answer(theCase, true)).toBe(expectedStream(said(theCase, true), theCase))
})

test.each(byName(untouched))('%s: for a stream the engine is asked for nothing else than its own client would', (_name, theCase) => {
  const { path, body } = ownCall(theCase)
  const options = theCase.body['stream_options']
  const asked = { ...body, stream: true, ...(options === undefined ? {} : { stream_options: options }) }
  const otherwise = ASKED_OTHERWISE.filter(({ dialects }) => dialects.includes(theCase.dialect))
  expect(callOf(theCase, true)).toEqual({ path, body: otherwise.reduce<JsonObject>((one, { ask }) => ask(one), asked) })
})

test.each(byName(bodied))('%s: the body is the engine’s own, but for what is listed', (_name, theCase) => {
  expect(steady(JSON.parse(answer(theCase, false)))).toEqual(steady(expectedBody(ownBody(theCase), theCase)))
})

test.each(byName(bodied.filter((one) => is('openai.chat')(one) && !streamed.includes(one))))(
  '%s: what the engine cannot stream is told in a stream as it is in a body',
  (_name, theCase) => {
    const stream = answer(theCase, true)
    expect(stream.endsWith('data: [DONE]\n\n')).toBe(true)
    const { tools: _tools, ...streamable } = theCase.body
    const { choices } = JSON.parse(fed(exchangeOf({ ...theCase, body: streamable }, false), bytesOf(stream, []))) as JsonObject
    expect(choices).toEqual(expectedBody(ownBody(theCase), theCase)['choices'])
  },
)

test.each(byName(native))('%s: in Ollama’s API, whole and streamed, the client hears what llama-server says', (_name, theCase) => {
  const expected = nativeOf(ownBody(theCase), theCase)
  expect(expected.text + expected.thinking + expected.calls.length).toMatch(/[^0]/)
  for (const stream of [true, false]) {
    expect(heardNative(answer(theCase, stream))).toEqual(expected)
    const last = JSON.parse(answer(theCase, stream).trimEnd().split('\n').at(-1) ?? '') as JsonObject
    const [, promptMs, completionMs] = /"prompt_ms":([\d.]+).*"predicted_ms":([\d.]+)/.exec(said(theCase, stream)) ?? []
    expect(last).toMatchObject({ model: ASKED, prompt_eval_duration: Math.round(Number(promptMs) * 1e6), eval_duration: Math.round(Number(completionMs) * 1e6) })
  }
})

test.each(byName(chats))('%s: what was said in OpenAI’s API is heard the same in Ollama’s', (_name, asked) => {
  const { messages, tools, logprobs } = asked.body
  // Fewer alternatives than the engine tells: the client gets those that it wants.
  const fields = { ...(tools ? { tools } : {}), ...(logprobs ? { logprobs, top_logprobs: 1 } : {}) }
  const chat: LlamaCase = { ...asked, dialect: 'ollama.chat', body: { messages, ...fields } }
  const expected = nativeOf(ownBody(asked), chat)
  for (const stream of [true, false])
    expect(heardNative(fed(exchangeOf(chat, stream), bytesOf(said(asked, false), [])))).toEqual(expected)
})

const NUMBERS = /-?\d+\.\d+(?:e-?\d+)?/g

test.each(byName(LLAMA_CASES.filter(is('ollama.embed', 'ollama.embeddings'))))('%s: in Ollama’s API the client gets llama-server’s own vectors', (name, theCase) => {
  const own = recorded(`llama/${name}.json`)
  const { data, usage } = JSON.parse(own) as { data: { embedding: number[] }[]; usage: { prompt_tokens: number } }
  const body = JSON.parse(answer(theCase, false)) as JsonObject
  const vectors = data.map(({ embedding }) => embedding)
  if (theCase.dialect === 'ollama.embeddings') expect(body).toEqual({ embedding: vectors[0] })
  else {
    const size = Number(theCase.body['dimensions'] ?? vectors[0]?.length)
    const short = vectors.map((vector) => vector.slice(0, size)).map((vector) => {
      const length = size < (vectors[0]?.length ?? 0) ? Math.hypot(...vector) : 1
      return vector.map((value) => expect.closeTo(value / length, 12) as number)
    })
    expect(body).toEqual({ model: ASKED, embeddings: short, prompt_eval_count: usage.prompt_tokens })
  }
  if (theCase.body['dimensions'] === undefined) expect(answer(theCase, false).match(NUMBERS)).toEqual(own.match(NUMBERS)?.map((number) => String(Number(number))))
})

interface Answered {
  status: string
  output: { type: string; name?: string; arguments?: string; content?: { type: string; text: string }[] }[]
  usage: { input_tokens: number; output_tokens: number; total_tokens: number }
}

/** What both say. */
const lasting = ({ output, usage: { input_tokens, output_tokens, total_tokens } }: Answered) => ({
  output: output.map(({ type, name, arguments: given, content }) => ({ type, name, arguments: given, content: content?.map((part) => [part.type, part.text]) })),
  usage: { input_tokens, output_tokens, total_tokens },
})

test.each(byName(LLAMA_CASES.filter(is('openai.responses'))))('%s: asked through its chat, llama-server says what it says at its own /v1/responses', (_name, theCase) => {
  const own = ownBody(theCase) as unknown as Answered
  const [, last] = /event: response\.(?:completed|incomplete)\ndata: (.*)\n\n$/.exec(answer(theCase, true)) ?? []
  for (const got of [JSON.parse(answer(theCase, false)) as Answered, (JSON.parse(last ?? '') as { response: Answered }).response]) {
    expect(lasting(got)).toEqual(lasting(own))
    // llama-server calls each answer completed, the API one that its limit has cut incomplete.
    expect([own.status, got.status]).toEqual(['completed', own.usage.output_tokens === theCase.body['max_output_tokens'] ? 'incomplete' : 'completed'])
  }
})

test('what comes before an error in mid-stream is the engine’s own to the byte, wherever it is cut', () => {
  const theCase = LLAMA_CASES.find(({ name }) => name === 'chat-tools')
  if (!theCase) throw new Error('no such case')
  const text = recorded('chat-error.sse')
  const before = text.slice(0, text.indexOf('data: {"error"')).replaceAll('"model":"tiny"', `"model":"${ASKED}"`)
  const failure = expect.objectContaining({ code: 'engine_failed', message: 'The model produced output that does not match the expected peg-native format' })
  fc.assert(
    fc.property(places, (cuts) => {
      const [talk, decoder] = [exchangeOf(theCase, true), new Utf8Text()]
      let out = ''
      expect(() => {
        for (const chunk of bytesOf(text, cuts)) out += talk.push(decoder.push(chunk) ?? '')
        out += talk.finish()
      }).toThrow(failure)
      expect(out).toBe(before)
      expect(talk.ended).toBe(false)
    }),
  )
})

describe('the list of exceptions', () => {
  test('names nothing that makes no difference to any recording', () => {
    for (const { name, dialects, stream, body } of LLAMA_EXCEPTIONS) {
      const own = LLAMA_CASES.filter(({ dialect }) => dialects.includes(dialect))
      const idle = dialects.filter((dialect) => !own.some((one) => one.dialect === dialect &&
        ((stream && stream(said(one, true), one) !== said(one, true)) || (body && JSON.stringify(body(ownBody(one), one)) !== JSON.stringify(ownBody(one))))))
      expect(idle, name).toEqual([])
    }
  })

  test('what varies is nothing but that', () => {
    const body = { id: 'x', created: 1, model: 'm', choices: [{ id: 7, text: 'a' }], usage: { cached_tokens: 4, prompt_tokens: 5 }, timings: { prompt_ms: 2, predicted_n: 3 } }
    expect(steady(body)).toEqual({
      id: 'any id', created: 'any created', model: 'm', choices: [{ id: 7, text: 'a' }], usage: { cached_tokens: 'any cached_tokens', prompt_tokens: 5 }, timings: { prompt_ms: 0, predicted_n: 3 },
    })
    expect(steadyText(JSON.stringify(body))).toBe(
      '{"id":"","created":0,"model":"m","choices":[{"id":7,"text":"a"}],"usage":{"cached_tokens":0,"prompt_tokens":5},"timings":{"prompt_ms":0,"predicted_n":3}}',
    )
    const usage = { cache_read_input_tokens: 5, input_tokens: 2, output_tokens: 1 }
    expect(steady(usage)).toEqual({ cache_read_input_tokens: 'any cache_read_input_tokens', input_tokens: 7, output_tokens: 1 })
    expect(steadyText(JSON.stringify(usage))).toBe('{"input_tokens":7,"output_tokens":1}')
  })

  test('every recording belongs to a case', () => {
    const names = new Set(LLAMA_CASES.map(({ name }) => name))
    expect(readdirSync(FOLDER).map((file) => file.replace(/(\.body)?\.\w+$/, '')).filter((name) => !names.has(name))).toEqual([])
  })

  test('is what docs/conformance.md says', async () => {
    const page = new URL('../../../docs/conformance.md', import.meta.url)
    const wanted = pageOf()
    if (process.env['DROVER_WRITE_CONFORMANCE']) await writeFile(page, wanted)
    expect(await readFile(page, 'utf8')).toBe(wanted)
  })
})

const CODE = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(', ')

const pageOf = () => `# What llama-server said is what the client got

Made by \`DROVER_WRITE_CONFORMANCE=1 npx vitest run --project unit libs/dialects/src/recorded-llama.test.ts\` from the list that the tests
work with (\`libs/dialects/src/testing/llama-exceptions.ts\`). A test fails when this page says anything else. Not written by hand.

A client of Drover gets a llama-server's own stream, byte for byte, and a body with the same fields and values as the server's own, in each API
that Drover asks it in: ${CODE([...new Set(bodied.map(({ dialect }) => dialect))].slice(0, 4))},
${CODE([...new Set(bodied.map(({ dialect }) => dialect))].slice(4))}. The exceptions are below.
What is asked in Ollama's API is answered by the same server through its chat, its completions or its embeddings, and what is asked at
\`/v1/responses\` through its chat: text, thoughts, calls, log probabilities, vectors, counts and the reason of the end are the server's own.
An error in mid-stream is an event of Drover's with the server's text; comments (\`: ping\`) are not passed on.

Two tests hold this: \`libs/dialects/src/recorded-llama.test.ts\` on recorded answers to ${LLAMA_CASES.length} requests, cut anywhere in their bytes;
\`test/clients/conformance.test.ts\` on real servers, asked directly and through Drover.
\`node test/clients/record-llama.ts\` records anew.

## Exceptions

${LLAMA_EXCEPTIONS.map(({ name, dialects, engine, drover, why, stream, body }) => `### ${name}

In ${[...(stream ? ['streams'] : []), ...(body ? ['bodies'] : [])].join(' and ')} of ${CODE(dialects)}.

- llama-server ${engine}
- Drover ${drover}
- Why: ${why}
`).join('\n')}
## What is asked otherwise

What the client sends is what the engine is asked, with the engine's name of the model, and without fields that Drover does not know (they are
named in \`x-drover-ignored\`). Beside that:

${ASKED_OTHERWISE.map(({ dialects, what }) => `- ${CODE(dialects)}: ${what}`).join('\n')}

## What varies

These fields differ between two answers of one server to one request, so they are not compared:

| field | |
| --- | --- |
${Object.entries(VARYING).map(([name, what]) => `| \`${name}\` | ${what} |`).join('\n')}
`
