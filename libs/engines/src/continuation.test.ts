import { expect, onTestFinished, test } from 'vitest'
import { probeContinuation } from './continuation.ts'
import type { Engine } from './engine.ts'
import { llamaServer } from './llama-server.ts'
import { ollama } from './ollama.ts'
import { deadUrl, json, standIn } from './stand-in.ts'
import type { Heard } from './stand-in.ts'

const never = new AbortController().signal
const held = { engineName: 'M:8b', capabilities: ['completion'] }

interface Message { role: string; content: string }
type Render = (messages: Message[]) => string
const turn = ({ role, content }: Message) => `<${role}>${content}</>`

/** Templates by what they make of an assistant message at the end. */
const opens: Render = (messages) => {
  const last = messages.at(-1)
  return last?.role === 'assistant' ? `${messages.slice(0, -1).map(turn).join('')}<assistant>${last.content}` : `${messages.map(turn).join('')}<assistant>`
}
const begins: Render = (messages) => `${messages.map(turn).join('')}<assistant>`
const trimming = (trim: (text: string) => string): Render => (messages) => opens(messages.map(({ role, content }) => ({ role, content: trim(content) })))
const thinks: Render = (messages) => (messages.at(-1)?.role === 'assistant' ? opens(messages).replace('<assistant>', '<assistant><think>\n\n</think>\n') : `${begins(messages)}<think>\n`)

const messagesIn = ({ body }: Heard): Message[] => (JSON.parse(body) as { messages: Message[] }).messages
const isSecond = (heard: Heard): boolean => messagesIn(heard).length === 2

/** The two kinds, and how each tells a prompt. */
const kinds = {
  ollama: { make: ollama, path: '/api/chat', told: (prompt: string) => ({ model: 'M:8b', message: { role: '', content: '' }, done: false, _debug_info: { rendered_template: prompt } }) },
  'llama-server': { make: llamaServer, path: '/apply-template', told: (prompt: string) => ({ prompt }) },
}
type Kind = keyof typeof kinds
const each = Object.keys(kinds) as Kind[]

const open = async (kind: Kind, answer: (heard: Heard) => void) => {
  const server = await standIn(answer)
  const engine: Engine = kinds[kind].make({ id: 'box', url: server.url })
  onTestFinished(async () => {
    await engine.close()
    await server[Symbol.asyncDispose]()
  })
  return { server, engine }
}
const rendering = (kind: Kind, render: Render) => (heard: Heard) => json(heard.response, kinds[kind].told(render(messagesIn(heard))))

const TEMPLATES: [string, Render, string][] = [
  ['leaves a trailing answer open', opens, 'prefill'],
  ['closes it and begins a new turn', begins, 'rendered'],
  ['trims it', trimming((text) => text.trim()), 'rendered'],
  ['trims its beginning', trimming((text) => text.replace(/^\n+/, '')), 'rendered'],
  ['trims its end', trimming((text) => text.trimEnd()), 'rendered'],
  ['folds its blanks', trimming((text) => text.replaceAll('  ', ' ')), 'rendered'],
  ['folds its lines', trimming((text) => text.replaceAll('\n', ' ')), 'rendered'],
  ['thinks, so that an empty thought stands before it', thinks, 'rendered'],
  ['leaves it out', (messages) => opens(messages.slice(0, 1)), 'rendered'],
]
test.each(each.flatMap((kind) => TEMPLATES.map(([what, render, expected]) => ({ kind, what, render, expected }))))('$kind with a template that $what: $expected', async ({ kind, render, expected }) => {
  const { server, engine } = await open(kind, rendering(kind, render))
  expect(await probeContinuation(engine, held, never)).toBe(expected)
  expect(server.heard).toMatchObject([{ method: 'POST', path: kinds[kind].path }, { method: 'POST', path: kinds[kind].path }])
  for (const { body } of server.heard) expect(JSON.parse(body)).toMatchObject({ model: 'M:8b', stream: false })
})

test.each(each.flatMap((kind) => [400, 404, 500].map((status) => ({ kind, status }))))('$kind that refuses a trailing answer with $status can still be asked for prompts', async ({ kind, status }) => {
  const { engine } = await open(kind, (heard) => (isSecond(heard) ? json(heard.response, { error: 'no' }, status) : rendering(kind, opens)(heard)))
  expect(await probeContinuation(engine, held, never)).toBe('rendered')
})

test.each(each.flatMap((kind) => [
  { kind, what: 'does not know the question', status: 404, body: { error: 'not found' } },
  { kind, what: 'answers the message instead', status: 200, body: { message: { role: 'assistant', content: 'Hi' }, done: true } },
  { kind, what: 'cannot render', status: 500, body: { error: 'template' } },
]))('$kind that $what continues nothing', async ({ kind, status, body }) => {
  const { server, engine } = await open(kind, ({ response }) => json(response, body, status))
  expect(await probeContinuation(engine, held, never)).toBe('none')
  expect(server.heard).toHaveLength(1)
})

test.each(each.flatMap((kind) => [{ kind, first: true }, { kind, first: false }]))('$kind that is busy (first question: $first) has said nothing', async ({ kind, first }) => {
  const { engine } = await open(kind, (heard) => (first || isSecond(heard) ? json(heard.response, { error: 'busy' }, 503) : rendering(kind, opens)(heard)))
  await expect(probeContinuation(engine, held, never)).rejects.toMatchObject({ code: 'engine_failed', message: `engine box answered POST ${kinds[kind].path} with status 503` })
})

test('a model that makes no text is not asked for', async () => {
  const { server, engine } = await open('ollama', rendering('ollama', opens))
  expect(await probeContinuation(engine, { engineName: 'e', capabilities: ['embedding'] }, never)).toBe('none')
  expect(server.heard).toEqual([])
  expect(await probeContinuation(engine, { engineName: 'e' }, never)).toBe('prefill')
})

test('Ollama is told the context that the model is loaded with, and to make no more than a token should it answer', async () => {
  const { server, engine } = await open('ollama', rendering('ollama', opens))
  await probeContinuation(engine, held, never, 2048)
  for (const { body } of server.heard) expect(JSON.parse(body)).toMatchObject({ options: { num_ctx: 2048, num_predict: 1 } })
})

test('an engine that is not there has said nothing, and whoever asks may leave', async () => {
  const away = llamaServer({ id: 'box', url: await deadUrl() })
  onTestFinished(() => away.close())
  await expect(probeContinuation(away, held, never)).rejects.toMatchObject({ code: 'engine_failed' })
  const { engine } = await open('llama-server', () => {})
  const leaving = new AbortController()
  setTimeout(() => leaving.abort(new Error('left')), 20)
  await expect(probeContinuation(engine, held, leaving.signal)).rejects.toThrow('left')
})
