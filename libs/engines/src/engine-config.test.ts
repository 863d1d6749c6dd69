import { expect, test } from 'vitest'
import { EngineConfig, engineId } from './engine-config.ts'

const messages = (input: unknown): string[] => {
  const { error } = EngineConfig.safeParse(input)
  return (error?.issues ?? []).map(({ path, message }) => `${path.join('.')}: ${message}`)
}

test('an engine may be a URL or an object', () => {
  expect(EngineConfig.parse('http://box:8080/')).toEqual({ url: 'http://box:8080' })
  const all = { url: 'https://box/llama/', kind: 'llama-server', name: 'Tiny', slots: 2, maxLoaded: 1, apiKey: 'k' }
  expect(EngineConfig.parse(all)).toEqual({ ...all, url: 'https://box/llama' })
})

test.each([
  ['box:8080', 'url: must be a URL that begins with http:// or https://'],
  ['redis://box', 'url: must be a URL that begins with http:// or https://'],
  [{ url: 'http://user:secret@box' }, 'url: must not carry a user name or password: give a key as apiKey'],
  [{ url: 'http://box', name: 'no name!' }, 'name: must be a model name such as llama3.2:3b'],
  [{ url: 'http://box', apiKey: 'a\r\nb' }, 'apiKey: must be printable ASCII without spaces'],
  [12, ': must be a URL, or an object with a url'],
])('%j is refused with a clear reason', (input, message) => {
  expect(messages(input)).toEqual([message])
})

test('unknown settings and numbers out of range are refused', () => {
  expect(messages({ url: 'http://box', slot: 1 })).toHaveLength(1)
  expect(messages({ url: 'http://box', slots: 0 })).toHaveLength(1)
  expect(messages({ url: 'http://box', kind: 'vllm' })).toHaveLength(1)
  expect(messages({})).toHaveLength(1)
})

test('the names of this machine are one, and ports and paths tell engines apart', () => {
  expect(engineId('http://localhost:11434')).toBe('127.0.0.1:11434')
  expect(engineId('http://[::1]:11434/')).toBe('127.0.0.1:11434')
  expect(engineId('http://box')).toBe('box:80')
  expect(engineId('https://box/one/')).toBe('box:443/one')
})
