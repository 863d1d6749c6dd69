import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseOllamaHost } from './ollama-host.ts'

test.each([
  ['', 'http://127.0.0.1:11434'],
  [' "10.0.0.5" ', 'http://10.0.0.5:11434'],
  ['10.0.0.5:8000', 'http://10.0.0.5:8000'],
  [':8000', 'http://127.0.0.1:8000'],
  ['0.0.0.0', 'http://127.0.0.1:11434'],
  ['0.0.0.0:8000', 'http://127.0.0.1:8000'],
  ['box.example', 'http://box.example:11434'],
  ['http://box.example', 'http://box.example'],
  ['https://box.example', 'https://box.example'],
  ['https://box.example:8443/ollama/', 'https://box.example:8443/ollama'],
  ['box.example/ollama', 'http://box.example:11434/ollama'],
  ['box:99999', 'http://box:11434'],
  ['box:nonsense', 'http://box:11434'],
  ['box:0', 'http://box:11434'],
  ['::1', 'http://[::1]:11434'],
  ['[::1]', 'http://[::1]:11434'],
  ['[::1]:8000', 'http://[::1]:8000'],
  ['[::]:8000', 'http://[::1]:8000'],
  ['ftp://box', undefined],
  ['two words', undefined],
  ['user:secret@box', undefined],
])('OLLAMA_HOST=%s is reached at %s', (text, url) => {
  expect(parseOllamaHost(text)).toBe(url)
})

test('what it gives can be used as a URL, and any text may be given', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const url = parseOllamaHost(text)
      return url === undefined || (URL.canParse(url) && /^https?:/.test(url) && !url.endsWith('/'))
    }),
  )
})
