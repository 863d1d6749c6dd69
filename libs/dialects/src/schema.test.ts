import { BrokerError, DialectId } from '@drover/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dialects } from './index.ts'
import { bodyOf, schemasIn } from './testing/samples.ts'

/** What one field says of another is in no schema. */
const ACROSS = [
  /^tool_choice is "required", but there are no functions/,
  /^tool_choice names a function ".*" that is not in tools$/s,
  /^tool_choice names a tool that is not among the tools/,
  /^background needs store:/,
  /^raw mode does not support/,
  /^response_format\.json_schema\.schema is required$/,
  /^the request has \d+ answers \(prompts times n\)/,
]

const SAID = ['type', 'enum', 'const', 'anyOf', 'oneOf', 'description', 'properties', 'required']

describe.each(DialectId.options)('the schema of %s', (id) => {
  const { schema, parse } = dialects[id]

  test('says something of every field', () => {
    const silent = [...schemasIn(schema)].filter(({ schema }) => !SAID.some((word) => word in schema)).map(({ path }) => path)
    expect(silent).toEqual([])
  })

  test('says what is needed: without it, and without anything, a request is refused', () => {
    expect(() => parse('{}')).toThrow(BrokerError)
    expect(schema['required']).toContain('model')
  })

  test('lets nothing through that is then refused', () => {
    fc.assert(
      fc.property(bodyOf(schema, { model: 'm' }), (body) => {
        try {
          parse(JSON.stringify(body))
        } catch (error) {
          if (!(error instanceof BrokerError) || !ACROSS.some((pattern) => pattern.test(error.message))) throw error
        }
      }),
      { numRuns: 100 },
    )
  })
})
