import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dialects } from '@drover/dialects'
import { expect, onTestFinished, test } from 'vitest'
import { Reply, type ReplyFacts } from './reply.ts'

/** What a client gets of an answer. */
const answered = async (stream: boolean, tell: (reply: Reply) => void) => {
  const facts = Promise.withResolvers<ReplyFacts>()
  const server = createServer((_request, outgoing) => tell(new Reply({ outgoing, dialect: dialects['ollama.chat'], stream, asked: 'm', headers: {}, onOver: facts.resolve })))
  onTestFinished(() => void server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  return { headers: response.headers, text: await response.text(), facts: await facts.promise }
}

const head = { status: 200, contentType: 'text/plain', node: 'n2' }
const end = { outcome: 'completed', attempt: 3 } as const

test.each([true, false])('an answer says how later attempts took it up (streamed: %s)', async (stream) => {
  const { headers, text, facts } = await answered(stream, (reply) => {
    reply.frame({ reset: true, resumed: 'restart' }, 2)
    reply.frame({ resumed: 'continue', head, text: 'a' }, 3)
    reply.frame({ text: 'b', end }, 3)
  })
  expect([headers.get('x-drover-resumed'), headers.get('x-drover-attempts'), headers.get('x-drover-node'), text]).toEqual(['restart, continue', '3', 'n2', 'ab'])
  expect(facts).toMatchObject({ resumed: ['restart', 'continue'], record: end, clientLeft: false })
})

test('what comes after the header is told by the record of the answer only', async () => {
  const { headers, facts } = await answered(true, (reply) => {
    reply.frame({ head, text: 'a' }, 1)
    reply.frame({ resumed: 'replay', text: 'b', end }, 2)
  })
  expect(headers.has('x-drover-resumed')).toBe(false)
  expect(facts.resumed).toEqual(['replay'])
})
