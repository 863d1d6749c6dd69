import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { skipsWithoutLlamaServer, startLlamaServer } from '../support/llama-server.ts'
import { halfBits } from './noise.ts'
import { writeTinyModel } from './tiny-model.ts'
import { vocabulary } from './vocabulary.ts'

let folder = ''
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'drover-gguf-'))))
afterAll(() => rm(folder, { recursive: true, force: true }))

const written = async (name: string, seed: number) => {
  const path = join(folder, name)
  await writeTinyModel({ path, seed, layers: 1 })
  return readFile(path)
}

test('the same options give the same bytes, another seed gives others', async () => {
  const first = await written('a.gguf', 1)
  expect((await written('b.gguf', 1)).equals(first)).toBe(true)
  expect((await written('c.gguf', 2)).equals(first)).toBe(false)
  expect(first.subarray(0, 4).toString()).toBe('GGUF')
})

test('sizes that no model has are refused', async () => {
  const path = join(folder, 'never.gguf')
  await expect(writeTinyModel({ path, embd: 64, heads: 3 })).rejects.toThrow('multiple of heads')
  await expect(writeTinyModel({ path, heads: 4, kvHeads: 3 })).rejects.toThrow('multiple of kvHeads')
  await expect(writeTinyModel({ path, vocab: 100 })).rejects.toThrow('512 to 5000')
})

test('numbers are rounded to half precision', () => {
  const known = [
    [0, 0], [1, 0x3c00], [-2, 0xc000], [65504, 0x7bff], [2 ** -24, 1], [2 ** -14, 0x0400], [0.1, 0x2e66], [1 / 3, 0x3555],
  ]
  expect(known.map(([value = 0]) => halfBits(value))).toEqual(known.map(([, bits]) => bits))
  expect(halfBits(2047.5)).toBe(halfBits(2048))
  expect(halfBits(1023.5 / 2 ** 24)).toBe(0x0400)
})

test('every word can be reached by merging two pieces that come earlier', () => {
  const tokens = vocabulary(5000)
  expect(tokens).toHaveLength(5000)
  expect(new Set(tokens.map(({ text }) => text)).size).toBe(5000)
  const seen = new Set<string>()
  for (const { text, spoken } of tokens) {
    const parts = [...text].slice(1).map((_, i) => [text.slice(0, i + 1), text.slice(i + 1)])
    if (spoken) expect(parts.some(([left = '', right = '']) => seen.has(left) && seen.has(right)), text).toBe(true)
    seen.add(text)
  }
})

test.skipIf(skipsWithoutLlamaServer()).for(['f32', 'f16'] as const)(
  'a real llama-server streams a %s model, and continues its answer exactly from any word border',
  async (type) => {
    const model = join(folder, `${type}.gguf`)
    await writeTinyModel({ path: model, type })
    const server = await startLlamaServer({ model, slots: 2, ctx: 512 })
    onTestFinished(() => server[Symbol.asyncDispose]())
    const chat = async (content: string, partial?: string, max_tokens = 60) => {
      const messages = [{ role: 'user', content }, ...(partial === undefined ? [] : [{ role: 'assistant', content: partial }])]
      const body = JSON.stringify({ messages, temperature: 0, max_tokens, stream: true })
      // It closes its connection behind every stream, whatever its header says.
      const headers = { connection: 'close' }
      const answer = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body, headers })
      const events = (await answer.text()).split('\n\n').filter(Boolean).map((event) => event.slice('data: '.length))
      expect(events.pop()).toBe('[DONE]')
      const pieces = events.map((event) => JSON.parse(event) as { choices: [{ delta: { content?: string | null } }] })
      return pieces.map(({ choices: [{ delta }] }) => delta.content ?? '')
    }
    const pieces = (await chat('say something')).filter(Boolean)
    expect(pieces).toHaveLength(60)
    expect(pieces.every((piece) => /^ [a-z]+$/.test(piece))).toBe(true)
    expect((await chat('say something else')).join('')).not.toBe(pieces.join(''))
    for (const cut of [1, 7, 23, 41, 59]) {
      const rest = await chat('say something', pieces.slice(0, cut).join(''), 60 - cut)
      expect(rest.join(''), `cut after ${cut} words`).toBe(pieces.slice(cut).join(''))
    }
  },
)

test.skipIf(skipsWithoutLlamaServer())('a weight for the end of text lets answers end by themselves', async () => {
  const model = join(folder, 'eos.gguf')
  await writeTinyModel({ path: model, eos: 3 })
  const server = await startLlamaServer({ model })
  onTestFinished(() => server[Symbol.asyncDispose]())
  const reasons = new Set<string>()
  for (let seed = 1; seed <= 4; seed++) {
    const body = JSON.stringify({ messages: [{ role: 'user', content: 'hello' }], temperature: 0.8, seed, max_tokens: 900 })
    const answer = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body })
    const { choices: [choice] } = (await answer.json()) as { choices: [{ finish_reason: string }] }
    reasons.add(choice.finish_reason)
  }
  expect(reasons).toContain('stop')
})
