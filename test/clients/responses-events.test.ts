import { exchange } from '@drover/dialects'
import fc from 'fast-check'
import OpenAI from 'openai'
import { expect, test } from 'vitest'

interface Said {
  deltas: { content?: string; reasoning_content?: string }[]
  calls: { name: string; city: string }[]
  finish: string
}

const word = fc.string({ minLength: 1, maxLength: 6 })
const delta: fc.Arbitrary<Said['deltas'][number]> = fc.oneof(fc.record({ content: word }), fc.record({ reasoning_content: word }))
const calls = fc.array(fc.record({ name: fc.constantFrom('weather', 'time'), city: word }), { maxLength: 2 })

const chunk = (delta: object, finish_reason: string | null = null) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }], id: 'x', created: 1, model: 'small', object: 'chat.completion.chunk' })}\n\n`

/** A llama-server's chat. */
const chat = ({ deltas, calls, finish }: Said): string => {
  const called = calls.flatMap(({ name, city }, index) => [
    chunk({ tool_calls: [{ index, id: `call_${index}`, type: 'function', function: { name, arguments: '{' } }] }),
    chunk({ tool_calls: [{ index, function: { arguments: JSON.stringify({ city }).slice(1) } }] }),
  ])
  return [chunk({ role: 'assistant', content: null }), ...deltas.map((each) => chunk(each)), ...called, chunk({}, finish), 'data: [DONE]\n\n'].join('')
}

/** The openai client before an engine that says this: Drover's translation without the way over processes. */
const clientBefore = (said: Said, reasoning: object | undefined): OpenAI => {
  const talk = exchange({
    dialect: 'openai.responses', body: { model: 'm', input: 'x', ...(reasoning && { reasoning }) }, stream: true, asked: 'm', policy: {}, id: '0-x', createdAt: 1_800_000_000_000,
    engine: { kind: 'llama-server', speaks: ['openai.chat'], model: 'small' },
  })
  const stream = talk.push(chat(said)) + talk.finish()
  const fetch = () => Promise.resolve(new Response(stream, { headers: { 'content-type': talk.contentType } }))
  return new OpenAI({ apiKey: 'unused', fetch })
}

test('the openai client puts any answer together as it was: thoughts, summaries, text and calls in any order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ deltas: fc.array(delta, { maxLength: 8 }), calls, finish: fc.constantFrom('stop', 'length') }),
      fc.constantFrom(undefined, { summary: 'auto' as const }),
      async (said, reasoning) => {
        const stream = clientBefore(said, reasoning).responses.stream({ model: 'm', input: 'x', ...(reasoning && { reasoning }) })
        const { output, output_text: text, status } = await stream.finalResponse()
        expect(text).toBe(said.deltas.map(({ content = '' }) => content).join(''))
        const thoughts = output.flatMap((item) => (item.type === 'reasoning' ? [...item.summary, ...(item.content ?? [])] : []))
        expect(thoughts.map((each) => each.text).join('')).toBe(said.deltas.map(({ reasoning_content: thought = '' }) => thought).join(''))
        const made = output.flatMap((item) => (item.type === 'function_call' ? [{ name: item.name, arguments: item.arguments }] : []))
        expect(made).toEqual(said.calls.map(({ name, city }) => ({ name, arguments: JSON.stringify({ city }) })))
        expect(status).toBe(said.finish === 'length' ? 'incomplete' : 'completed')
      },
    ),
  )
})
