import { expect, test } from 'vitest'
import { parseModelfile } from './modelfile.ts'

test('what it says becomes fields of a create', () => {
  const text = `# a model of mine
from llama3.2:3b
PARAMETER temperature 0.7
parameter stop "<|end|>"
PARAMETER stop  two words
PARAMETER num_ctx 8192
PARAMETER use_mmap false

SYSTEM """
You are "brief".
# no comment here
"""
TEMPLATE "{{ .System }}
{{ .Prompt }}"
MESSAGE user Hello
MESSAGE Assistant """Hi,
there"""
LICENSE MIT
LICENSE """
Another
"""
RENDERER qwen3-coder
PARSER qwen3-coder
REQUIRES 0.14.0
`
  expect(parseModelfile(text)).toEqual({
    from: 'llama3.2:3b',
    parameters: { temperature: 0.7, stop: ['<|end|>', 'two words'], num_ctx: 8192, use_mmap: false },
    system: '\nYou are "brief".\n# no comment here\n',
    template: '{{ .System }}\n{{ .Prompt }}',
    messages: [{ role: 'user', content: 'Hello' }, { role: 'assistant', content: 'Hi,\nthere' }],
    license: ['MIT', '\nAnother\n'],
    renderer: 'qwen3-coder',
    parser: 'qwen3-coder',
    requires: '0.14.0',
  })
})

test('lines may end as Windows ends them, and the last one of a name counts', () => {
  expect(parseModelfile('\uFEFFFROM a\r\nSYSTEM one\r\nSYSTEM "two"\r\n')).toEqual({ from: 'a', system: 'two' })
  expect(parseModelfile('')).toEqual({})
  expect(parseModelfile('SYSTEM ""')).toEqual({ system: '' })
})

test.each([
  ['FROM ./model.gguf', 'line 1: FROM a file is not taken yet'],
  ['\n# x\nFROM /models/x', 'line 3: FROM a file is not taken yet'],
  ['FROM model.gguf', 'line 1: FROM a file is not taken yet'],
  ['FROM C:\\models\\x', 'line 1: FROM a file is not taken yet'],
  ['FROM a/../b', "line 1: FROM takes the name of a model, not 'a/../b'"],
  ['FROM a\nFROM b', 'line 2: there is a FROM before this one'],
  ['FROM a\nADAPTER ./lora', 'line 2: ADAPTER takes a file, which is not taken yet'],
  ['FROM a\nTEMPERATURE 1', "line 2: 'temperature' is no instruction that is known"],
  ['PARAMETER mirostat 1', "line 1: 'mirostat' is no parameter that is known"],
  ['PARAMETER temperature warm', 'line 1: temperature is a number'],
  ['PARAMETER use_mmap 1', 'line 1: use_mmap is true or false'],
  ['PARAMETER temperature', 'line 1: PARAMETER says nothing'],
  ['SYSTEM', 'line 1: SYSTEM says nothing'],
  ['MESSAGE tool x', "line 1: a message is of system, user or assistant, not of 'tool'"],
  ['FROM a\nSYSTEM """never\nended', 'line 2: the quotes that begin here do not end'],
  ['SYSTEM "', 'line 1: the quotes that begin here do not end'],
  ['just a text', "line 1: 'just' is no instruction that is known"],
])('%j is refused by its line', (text, message) => {
  expect(() => parseModelfile(text)).toThrow(message)
})
