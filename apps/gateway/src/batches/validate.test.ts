import type { ModelName } from '@drover/core'
import { expect, test } from 'vitest'
import { validate } from './validate.ts'

const looked = (lines: object[]) =>
  validate({
    content: (async function* () { yield Buffer.from(lines.map((body, i) => `${JSON.stringify({ custom_id: `r${i}`, method: 'POST', url: '/v1/responses', body: { model: 'm', ...body } })}\n`).join('')) })(),
    spec: { dialect: 'openai.responses', endpoint: '/v1/responses', view: 'openai' },
    limits: { lines: 100, lineBytes: 10_000 },
    resolve: async () => 'm:latest' as ModelName,
  })

test('what only the route of responses can do is named with its line, before anything runs', async () => {
  const found = await looked([
    { input: 'fine', store: true },
    { input: 'later', background: true },
    { input: 'and then?', previous_response_id: 'resp_0-aaaaaaaaaaaaaaaaaaaaaa' },
    { input: [{ type: 'item_reference', id: 'msg_1' }, { type: 'message', role: 'user', content: 'go on' }] },
    { input: 'not stored', store: false, background: false },
  ])
  expect(found).toEqual({
    errors: [
      [2, 'background'],
      [3, 'previous_response_id'],
      [4, 'input: item_reference'],
    ].map(([line, field]) => ({ line, code: 'invalid_request', param: 'body', message: `${field} is for requests to /v1/responses themselves` })),
  })
})

test('lines of which nothing is wrong are kept by their models', async () => {
  expect(await looked([{ input: 'a' }, { input: 'b' }])).toMatchObject({ models: ['m:latest'] })
})
