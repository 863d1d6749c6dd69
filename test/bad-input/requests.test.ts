import { expect } from 'vitest'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { errorTextOf, post, send, sendBytes, smallest } from '../support/raw.ts'
import { DIALECTS, PATHS, test as world, type DialectName } from '../support/world.ts'

const LIMIT = 64 * 1024

let streams = 0

/** Beside every bad request a good one is in mid-stream, and has to come out whole. */
const test = world
  .extend('site', { scope: 'file' }, async ({ house, engines }) => {
    const engine = await engines({ slots: 2, models: ['scripted', 'good'] })
    const gateway = await house.gateway({ DROVER_BODY_LIMIT: '64kb' })
    await house.worker('n1', [{ url: engine.url, slots: 2 }], { gateway })
    return { url: gateway.url, engine }
  })
  .extend('alongside', { auto: true }, async ({ site: { url, engine } }, { onCleanup }) => {
    const key = `good${streams++}`
    const good = ask(url, 'openai.chat', { key, model: 'good', script: { tokens: 20, stall_at: 5 } })
    await good.tokens(5)
    const { requests } = await engine.admin.stats()
    onCleanup(async () => {
      await engine.admin.release(key)
      expect(await good.told).toMatchObject({ status: 200, ended: true, verdict: { ok: true, count: 20 }, headers: { 'x-drover-attempts': '1' } })
    })
    return {
      /** Since then no further request has reached the engine. */
      nothingReached: async () => expect((await engine.admin.stats()).requests).toBe(requests),
    }
  })

interface Case {
  name: string
  body: unknown
  status: number
  text: string | RegExp
  /** Those that it is for; all when absent. */
  only?: readonly DialectName[]
}

const NATIVE = ['ollama.chat', 'ollama.generate'] as const
const CHAT = ['ollama.chat', 'openai.chat'] as const
const HELLO = [{ role: 'user', content: 'hello' }]
const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
const picture = (url: string) => ({ model: 'scripted', messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }] })

const CASES: Case[] = [
  { name: 'an empty body', body: '', status: 400, text: 'missing request body', only: NATIVE },
  { name: 'an empty body', body: '', status: 400, text: 'EOF', only: ['openai.chat'] },
  { name: 'a body of spaces', body: ' \r\n\t', status: 400, text: /missing request body|EOF/ },
  { name: 'a body cut short', body: '{"model":"scripted","mess', status: 400, text: 'unexpected EOF' },
  { name: 'text that is not JSON', body: 'model=scripted', status: 400, text: "invalid character 'm' looking for beginning of value" },
  { name: 'a trailing comma', body: '{"model":"scripted",}', status: 400, text: "invalid character '}' looking for beginning of object key string" },
  { name: 'a list', body: [], status: 400, text: /^json: cannot unmarshal array into Go value/ },
  { name: 'a text', body: '"scripted"', status: 400, text: /^json: cannot unmarshal string into Go value/ },
  { name: 'bytes that are not UTF-8', body: Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), status: 400, text: /UTF-8/ },
  { name: 'half a character', body: Buffer.from('{"model":"→"}').subarray(0, 11), status: 400, text: /UTF-8/ },
  { name: 'deep nesting', body: `{"model":"scripted","messages":${nested(100)},"prompt":${nested(100)}}`, status: 400, text: 'exceeded max depth' },
  { name: 'very deep nesting', body: nested(30_000), status: 400, text: 'exceeded max depth' },
  { name: 'very deep nesting without an end', body: '[{"a":'.repeat(10_000), status: 400, text: 'unexpected EOF' },
  { name: 'a model that is a number', body: { model: 5, messages: HELLO }, status: 400, text: /^json: cannot unmarshal number into Go struct field \w+\.model of type string$/ },
  { name: 'a stream that is a text', body: { model: 'scripted', messages: HELLO, stream: 'yes' }, status: 400, text: /^json: cannot unmarshal string into Go struct field \w+\.stream of type bool$/ },
  { name: 'messages that are a text', body: { model: 'scripted', messages: 'hello' }, status: 400, text: /^json: cannot unmarshal string into Go struct field \w+\.messages of type/, only: CHAT },
  { name: 'a message that is a text', body: { model: 'scripted', messages: ['hello'] }, status: 400, text: /^json: cannot unmarshal string/, only: CHAT },
  { name: 'a prompt that is a list', body: { model: 'scripted', prompt: ['hello'] }, status: 400, text: /^json: cannot unmarshal array into Go struct field GenerateRequest\.prompt of type string$/, only: ['ollama.generate'] },
  { name: 'no model', body: { messages: HELLO }, status: 400, text: 'model is required', only: CHAT },
  { name: 'no model', body: { prompt: 'hello' }, status: 404, text: "model '' not found", only: ['ollama.generate'] },
  ...['two words', '../../etc/passwd', 'a/b/c/d', 'x'.repeat(81), 'naïve', ':latest', 'a:b:c', 'm\u0000'].map(
    (model): Case => ({ name: `a model called ${JSON.stringify(model.slice(0, 20))}`, body: { model, messages: HELLO, prompt: 'hello' }, status: 400, text: 'invalid model name' }),
  ),
  { name: 'an unknown model', body: { model: 'Nobody/HAS:this', messages: HELLO, prompt: 'hello' }, status: 404, text: "model 'Nobody/HAS:this' not found" },
  { name: 'no messages', body: { model: 'scripted' }, status: 400, text: "[] is too short - 'messages'", only: ['openai.chat'] },
  { name: 'an option of the wrong type', body: { model: 'scripted', messages: HELLO, prompt: 'hello', options: { temperature: 'hot' } }, status: 500, text: 'option "temperature" must be of type float32', only: NATIVE },
  { name: 'a stop that is one text', body: { model: 'scripted', messages: HELLO, prompt: 'hello', options: { stop: 'x' } }, status: 500, text: 'option "stop" must be of type array', only: NATIVE },
  { name: 'an option out of range', body: { model: 'scripted', messages: HELLO, prompt: 'hello', options: { num_predict: 1e12 } }, status: 400, text: /num_predict/, only: NATIVE },
  { name: 'a number beyond all numbers', body: '{"model":"scripted","messages":[{"role":"user","content":"x"}],"prompt":"x","options":{"temperature":1e999},"temperature":1e999}', status: 400, text: /temperature/, only: ['openai.chat'] },
  { name: 'a number beyond all numbers', body: '{"model":"scripted","messages":[{"role":"user","content":"x"}],"prompt":"x","options":{"temperature":1e999}}', status: 500, text: /temperature/, only: NATIVE },
  { name: 'too many alternatives', body: { model: 'scripted', messages: HELLO, prompt: 'hello', logprobs: true, top_logprobs: 21 }, status: 400, text: /^top_logprobs must be between 0 and 20$/ },
  { name: 'an unknown way to think', body: { model: 'scripted', messages: HELLO, prompt: 'hello', think: 'maybe' }, status: 400, text: /^invalid think value: "maybe"/, only: NATIVE },
  { name: 'a keep_alive that is no duration', body: { model: 'scripted', messages: HELLO, prompt: 'hello', keep_alive: '5 minutes' }, status: 400, text: /^time: / , only: NATIVE },
  { name: 'a format that is none', body: { model: 'scripted', messages: HELLO, prompt: 'hello', format: 'xml' }, status: 500, text: /^invalid format: .*expected "json" or a valid JSON Schema object/, only: NATIVE },
  { name: 'raw together with a system text', body: { model: 'scripted', prompt: 'hello', raw: true, system: 'be brief' }, status: 400, text: 'raw mode does not support template, system, or context', only: ['ollama.generate'] },
  { name: 'a thousand answers', body: { model: 'scripted', messages: HELLO, n: 1000 }, status: 400, text: 'n must be between 1 and 16', only: ['openai.chat'] },
  { name: 'a temperature out of range', body: { model: 'scripted', messages: HELLO, temperature: 3 }, status: 400, text: 'temperature must be between 0 and 2', only: ['openai.chat'] },
  { name: 'a limit that is a text', body: { model: 'scripted', messages: HELLO, max_tokens: '5' }, status: 400, text: /^json: cannot unmarshal string into Go struct field ChatCompletionRequest\.max_tokens of type/, only: ['openai.chat'] },
  { name: 'a limit that is not whole', body: { model: 'scripted', messages: HELLO, max_tokens: 1.5 }, status: 400, text: /max_tokens/, only: ['openai.chat'] },
  { name: 'a stop that is a number', body: { model: 'scripted', messages: HELLO, stop: 5 }, status: 400, text: /'stop'/, only: ['openai.chat'] },
  { name: 'a message without content', body: { model: 'scripted', messages: [{ role: 'user' }] }, status: 400, text: /^invalid message content type/, only: ['openai.chat'] },
  { name: 'an image by URL', body: picture('http://127.0.0.1:9/cat.png'), status: 400, text: 'image URLs are not currently supported, please use base64 encoded data instead', only: ['openai.chat'] },
  { name: 'an image by file URL', body: picture('file:///etc/passwd'), status: 400, text: 'invalid image input', only: ['openai.chat'] },
  { name: 'an image by URL', body: { model: 'scripted', messages: [{ role: 'user', content: 'what?', images: ['https://x.test/cat.png'] }] }, status: 400, text: /^image URLs are not supported/, only: ['ollama.chat'] },
  { name: 'an image by URL', body: { model: 'scripted', prompt: 'what?', images: ['https://x.test/cat.png'] }, status: 400, text: /^image URLs are not supported/, only: ['ollama.generate'] },
  { name: 'an image that is not base64', body: { model: 'scripted', prompt: 'what?', images: ['/etc/passwd?'] }, status: 400, text: /^invalid image input/, only: ['ollama.generate'] },
]

const TABLE = CASES.flatMap((each) => (each.only ?? DIALECTS).map((dialect) => ({ ...each, dialect })))

test.for(TABLE)('$dialect refuses $name in its own form', async ({ dialect, body, status, text }, { site, alongside }) => {
  const answer = await post(site.url, dialect, body)
  expect([answer.status, errorTextOf(dialect, answer)]).toEqual([status, typeof text === 'string' ? text : expect.stringMatching(text)])
  expect(answer.headers['x-request-id']).toBeTypeOf('string')
  if (dialect === 'openai.chat') {
    const type = { 400: 'invalid_request_error', 404: 'not_found_error' }[status] ?? 'api_error'
    expect(JSON.parse(answer.text)).toMatchObject({ error: { type, param: null, code: null } })
  }
  await alongside.nothingReached()
})

test.for(DIALECTS)('what cannot be read never names what was asked: %s', async (dialect, { site }) => {
  const answer = await post(site.url, dialect, '{"model":"scripted","prompt":"my secret plan","messages":[{"role":"user","content":"my secret plan"}] oops')
  expect(answer.status).toBe(400)
  expect(answer.text).not.toContain('secret')
})

/** A body whose length is not announced. */
async function* chunks(text: string) {
  for (let i = 0; i < text.length; i += 16_384) yield Buffer.from(text.slice(i, i + 16_384))
}

test.for(DIALECTS)('a body over the limit is refused as such, announced or not, and one at the limit is not: %s', async (dialect, { site, alongside }) => {
  const padded = (size: number) => {
    const body = JSON.stringify(smallest(dialect, 'job=big tokens=2', { stream: false, padding: '' }))
    return body.replace('"padding":""', `"padding":"${'x'.repeat(size - body.length)}"`)
  }
  for (const body of [padded(LIMIT + 1), chunks(padded(LIMIT + 1)), padded(20 * LIMIT), chunks(padded(20 * LIMIT))]) {
    const answer = await send(site.url + PATHS[dialect], { body })
    expect(answer.status).toBe(413)
    expect(errorTextOf(dialect, answer)).toBe(`the request body is larger than ${LIMIT} bytes`)
  }
  await alongside.nothingReached()
  const whole = await send(site.url + PATHS[dialect], { body: padded(LIMIT) })
  expect([whole.status, whole.headers['x-drover-ignored']]).toEqual([200, 'padding'])
})

test.for(DIALECTS)('a body that ends before its announced length is no request: %s', async (dialect, { site, alongside }) => {
  const body = JSON.stringify(smallest(dialect, 'job=short'))
  const said = await sendBytes(site.url, `POST ${PATHS[dialect]} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length + 50}\r\n\r\n${body}`, { end: true })
  expect(said).not.toMatch(/^HTTP\/1\.1 2/)
  await alongside.nothingReached()
})

test.for(DIALECTS)('what follows the announced length is not taken for the request: %s', async (dialect, { site }) => {
  const body = JSON.stringify(smallest(dialect, 'job=long tokens=2', { stream: false }))
  const said = await sendBytes(
    site.url,
    `POST ${PATHS[dialect]} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}\u0001 and this is no request line\r\n\r\n`,
  )
  // One answer at most for the request, none for the rest but a refusal.
  expect(said.match(/^HTTP\/1\.1 200/gm)?.length ?? 0).toBeLessThanOrEqual(1)
  expect(said).toContain('HTTP/1.1 400')
})

test('a request with two lengths is refused', async ({ site, alongside }) => {
  const body = JSON.stringify(smallest('ollama.chat', 'job=two'))
  const head = `POST /api/chat HTTP/1.1\r\nhost: localhost\r\n`
  expect(await sendBytes(site.url, `${head}content-length: ${body.length}\r\ncontent-length: 3\r\n\r\n${body}`)).toMatch(/^HTTP\/1\.1 400/)
  expect(await sendBytes(site.url, `${head}content-length: ${body.length}\r\ntransfer-encoding: chunked\r\n\r\n${body}`)).toMatch(/^HTTP\/1\.1 400/)
  expect(await sendBytes(site.url, `${head}transfer-encoding: chunked\r\n\r\nzz\r\n${body}\r\n0\r\n\r\n`)).toMatch(/^HTTP\/1\.1 400/)
  await alongside.nothingReached()
})

test.for(['/nothing', '/api', '/api/', '/api/chat/more', '/v1/completions/x', '/api/../etc/passwd', '/API/CHAT', '/%2e%2e/x'])(
  'an unknown route is a 404 in plain text: %s',
  async (path, { site, alongside }) => {
    for (const method of ['GET', 'POST', 'DELETE'] as const) {
      const answer = await send(site.url + path, { method, ...(method === 'POST' && { body: '{}' }) })
      expect([answer.status, answer.text]).toEqual([404, '404 page not found'])
      expect(answer.headers['content-type']).toMatch(/^text\/plain/)
    }
    await alongside.nothingReached()
  },
)

test.for([
  ...DIALECTS.map((dialect) => ({ path: PATHS[dialect], wrong: 'GET', allow: 'POST' }) as const),
  { path: '/api/chat', wrong: 'DELETE', allow: 'POST' } as const,
  { path: '/api/tags', wrong: 'POST', allow: 'GET' } as const,
  { path: '/v1/models', wrong: 'PUT', allow: 'GET' } as const,
  { path: '/', wrong: 'POST', allow: 'GET' } as const,
])('a wrong method is a 405 that says which is right: $wrong $path', async ({ path, wrong, allow }, { site, alongside }) => {
  const answer = await send(site.url + path, { method: wrong })
  expect([answer.status, answer.text]).toEqual([405, '405 method not allowed'])
  expect(String(answer.headers['allow']).split(', ')).toContain(allow)
  await alongside.nothingReached()
})

/** Fields that no engine may ever see, and how each is named to the client. */
const STRANGERS: Record<DialectName, { fields: Record<string, unknown>; names: string[] }> = {
  'ollama.chat': {
    fields: { messages: [{ role: 'user', content: 'job=strange tokens=2', zz_inner: 1 }], options: { seed: 1, zz_option: 1 }, zz_top: { zz_deep: 1 }, slot_id: 0 },
    names: ['messages.zz_inner', 'options.zz_option', 'slot_id', 'zz_top'],
  },
  'ollama.generate': { fields: { options: { zz_option: 1 }, zz_top: 1, _debug_render_only: true }, names: ['_debug_render_only', 'options.zz_option', 'zz_top'] },
  'openai.chat': {
    fields: { messages: [{ role: 'user', content: 'job=strange tokens=2', zz_inner: 1 }], zz_top: [1], cache_prompt: true, id_slot: 0, user: 'me' },
    names: ['cache_prompt', 'id_slot', 'messages.zz_inner', 'user', 'zz_top'],
  },
}

test.for(DIALECTS)('fields that the dialect does not know are dropped, named, and never reach the engine: %s', async (dialect, { site }) => {
  const { fields, names } = STRANGERS[dialect]
  const answer = await post(site.url, dialect, smallest(dialect, 'job=strange tokens=2', fields))
  expect(answer.status).toBe(200)
  expect(String(answer.headers['x-drover-ignored']).split(', ').toSorted()).toEqual(names)
  const body = (await site.engine.admin.stats()).last.findLast(({ key }) => key === 'strange')?.body ?? ''
  expect(body).toContain('job=strange')
  expect(body).not.toMatch(/zz_|_debug|slot_id|id_slot|cache_prompt/)
})

test('names of dropped fields cannot break out of their header', async ({ site }) => {
  const answer = await post(site.url, 'ollama.chat', smallest('ollama.chat', 'job=hdr tokens=2', { 'a\r\nset-cookie: x=1': 1, 'ключ': 2, ...Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`f${i}`, i])) }))
  expect(answer.status).toBe(200)
  expect(answer.headers).not.toHaveProperty('set-cookie')
  expect(String(answer.headers['x-drover-ignored']).length).toBeLessThan(2_000)
})

test.for(DIALECTS)('no header of the client reaches the engine: %s', async (dialect, { site }) => {
  const headers = {
    'x-conversation-id': 'leak-1', authorization: 'Bearer leak-2', cookie: 'leak=3', 'user-agent': 'leak-4', 'x-forwarded-for': '10.9.8.7', 'accept-language': 'leak-5', 'x-request-id': 'leak-6',
  }
  expect((await post(site.url, dialect, smallest(dialect, 'job=headers tokens=2'), headers)).status).toBe(200)
  const seen = (await site.engine.admin.stats()).last.findLast(({ key }) => key === 'headers')?.headers ?? {}
  expect(JSON.stringify(seen)).not.toMatch(/leak|10\.9\.8\.7/)
  expect(Object.keys(seen).toSorted()).toEqual(['accept', 'connection', 'content-length', 'content-type', 'host'])
})

test.for(DIALECTS)('text of every kind comes to the engine as it was: %s', async (dialect, { site }) => {
  const prompt = 'job=text tokens=2 — "quotes" \\ \u0000 \u2028 \u{1f600} ü 漢 </s><|im_end|>'
  expect((await post(site.url, dialect, smallest(dialect, prompt))).status).toBe(200)
  const body = JSON.parse((await site.engine.admin.stats()).last.findLast(({ key }) => key === 'text')?.body ?? '') as { prompt?: string; messages?: { content: string }[] }
  expect(body.prompt ?? body.messages?.[0]?.content).toBe(prompt)
})

test('connections that are opened and left half way harm nobody', async ({ site, alongside }) => {
  const halves = [
    'POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-le', 'GARBAGE\r\n\r\n', 'POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"model"',
    `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n\r\n`, '\u0000\u0001\u0002',
  ]
  const said = await Promise.all(Array.from({ length: 40 }, (_, i) => sendBytes(site.url, halves[i % halves.length] ?? '', { end: true })))
  for (const each of said) expect(each).not.toMatch(/^HTTP\/1\.1 2/)
  await alongside.nothingReached()
  await until('no answer is open but the good one', async () => {
    const { gateway } = JSON.parse((await send(`${site.url}/api/status`, { method: 'GET' })).text) as { gateway: { open_answers: number } }
    return gateway.open_answers === 1
  })
})
