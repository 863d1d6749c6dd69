import { expect, test } from 'vitest'
import { BODY_DEPTH, readJsonBody } from './json-body.ts'

const read = (text: string) => readJsonBody(text, 'nothing there')

test.each([
  ['', 'nothing there'],
  [' \n\t', 'nothing there'],
  ['x', "invalid character 'x' looking for beginning of value"],
  ['é', "invalid character 'Ã' looking for beginning of value"],
  ['\u00a0{}', "invalid character 'Â' looking for beginning of value"],
  ["'a'", String.raw`invalid character '\'' looking for beginning of value`],
  ['{"a":1', 'unexpected EOF'],
  ['{"a"', 'unexpected EOF'],
  ['{', 'unexpected EOF'],
  ['"abc', 'unexpected EOF'],
  ['"\\u12', 'unexpected EOF'],
  ['tru', 'unexpected EOF'],
  ['-', 'unexpected EOF'],
  ['{a:1}', "invalid character 'a' looking for beginning of object key string"],
  ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
  ['{"a" 1}', "invalid character '1' after object key"],
  ['{"a":1 "b"}', `invalid character '"' after object key:value pair`],
  ['[1 2]', "invalid character '2' after array element"],
  ['[1,]', "invalid character ']' looking for beginning of value"],
  ['["a\nb"]', String.raw`invalid character '\n' in string literal`],
  ['["\\x"]', "invalid character 'x' in string escape code"],
  ['["\\u12g4"]', String.raw`invalid character 'g' in \u hexadecimal character escape`],
  ['[-a]', "invalid character 'a' in numeric literal"],
  ['[1.]', "invalid character ']' after decimal point in numeric literal"],
  ['[1e+]', "invalid character ']' in exponent of numeric literal"],
  ['[nil]', "invalid character 'i' in literal null (expecting 'u')"],
  ['[01]', "invalid character '1' after array element"],
])('%j is refused as Go refuses it', (text, message) => {
  expect(() => read(text)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400, message }))
})

test.each([
  ['{"a":[1,2,{"b":"}"}]} and more', { a: [1, 2, { b: '}' }] }],
  ['{} {}', {}],
  ['[]x', []],
  ['1.5e3,', 1500],
  ['"a\\"b" x', 'a"b'],
  [' null!', null],
  ['[[],{"a":{}},-0.5,true,false]]', [[], { a: {} }, -0.5, true, false]],
])('what follows the first value of %j is ignored', (text, value) => {
  expect(read(text)).toEqual(value)
})

const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)

test('a body may be nested up to the limit and no deeper, however deep it is', () => {
  expect(() => read(nested(BODY_DEPTH))).not.toThrow()
  expect(() => read(nested(BODY_DEPTH + 1))).toThrow('exceeded max depth')
  expect(() => read(nested(1_000_000))).toThrow('exceeded max depth')
  expect(() => read('['.repeat(1_000_000))).toThrow('unexpected EOF')
})
