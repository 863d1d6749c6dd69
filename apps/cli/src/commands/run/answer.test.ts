import { createServer } from 'node:http'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { answer } from './answer.ts'
import { chatBody, readOptions } from './request.ts'

/** A gateway that answers one chat with these pieces, cut as they are. */
const gateway = async (pieces: readonly (string | Buffer)[], status = 200) => {
  const server = createServer(async (request, response) => {
    for await (const _ of request);
    response.writeHead(status, { 'content-type': 'application/x-ndjson' })
    for (const piece of pieces) {
      response.write(piece)
      await turn()
    }
    response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return { url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`, apiKey: undefined }
}

const shown = () => {
  const said: [string, string][] = []
  return { said, view: { line: () => undefined, text: (piece: string) => void said.push(['text', piece]), thinking: (piece: string) => void said.push(['thinking', piece]) } }
}

const chatted = async (pieces: readonly (string | Buffer)[], status?: number) => {
  const { said, view } = shown()
  const outcome = await answer(await gateway(pieces, status), '{}', new AbortController().signal, view).catch((error: unknown) => error)
  return { said, outcome }
}

const event = (message: object, more: object = { done: false }): string => `${JSON.stringify({ message, ...more })}\n`

test('thinking and text come apart, whatever way the bytes are cut', async () => {
  const bytes = Buffer.from(event({ content: '', thinking: 'Hm…' }) + event({ content: 'Grüße' }) + event({ content: '' }, { done: true, eval_count: 2 }))
  const { said, outcome } = await chatted([...bytes].map((byte) => Buffer.from([byte])))
  expect(said).toEqual([['thinking', 'Hm…'], ['text', 'Grüße']])
  expect(outcome).toMatchObject({ text: 'Grüße', end: { done: true, eval_count: 2 } })
})

test.each([
  ['an error event', [event({ content: 'half' }), '{"error":"it broke"}\n'], /ended with an error: it broke/],
  ['no end event', [event({ content: 'half' })], /stopped without its end/],
  ['something else', [event({ content: 'half' }), '<html>\n'], /no event of a chat/],
])('%s is an error, and the text so far was shown', async (_, pieces, reason) => {
  const { said, outcome } = await chatted(pieces)
  expect(said).toEqual([['text', 'half']])
  expect(outcome).toMatchObject({ message: expect.stringMatching(reason) as string, code: 1 })
})

test('a refusal is told in the gateway’s own words', async () => {
  const { outcome } = await chatted(['{"error":"server busy"}'], 503)
  expect(outcome).toMatchObject({ message: expect.stringContaining('refuses (503): server busy') as string, code: 1 })
})

test('options are JSON where they can be, a list where a name comes again, and nothing is sent that was not said', () => {
  expect(readOptions(['temperature=0', 'stop=a', 'stop=b=c', 'mirostat=true'])).toEqual({ temperature: 0, stop: ['a', 'b=c'], mirostat: true })
  expect(() => readOptions(['temperature'])).toThrow(/expected name=value/)
  expect(JSON.parse(chatBody({ model: 'm', options: {} }, [{ role: 'user', content: 'x' }]))).toEqual({ model: 'm', messages: [{ role: 'user', content: 'x' }], stream: true })
  expect(JSON.parse(chatBody({ model: 'm', system: 's', options: { seed: 1 }, think: false }, []))).toEqual({
    model: 'm', messages: [{ role: 'system', content: 's' }], stream: true, options: { seed: 1 }, think: false,
  })
})
