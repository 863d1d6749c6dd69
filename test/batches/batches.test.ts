import OpenAI, { toFile } from 'openai'
import { describe, expect } from 'vitest'
import { statusOf, until } from '../support/drover.ts'
import { all } from '../support/world.ts'
import { chatLine, clientOf, ended, expectAnswers, expectOnce, readLines, resultsOf, submit, uploadText } from './lines.ts'
import { KINDS } from './places.ts'
import { test, testIn } from './world.ts'

const MODELS = ['first:latest', 'second:latest']

describe.for(KINDS)('files in a %s', (kind) => {
  const test = testIn(kind)

  test('the openai client uploads, creates, polls and downloads: 300 requests for two models over three nodes', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway(place.env)
    const engines = [await scripted({ models: [MODELS[0]!], slots: 4 }), await scripted({ models: [MODELS[1]!], slots: 4 }), await scripted({ models: MODELS, slots: 4, maxLoaded: 1 })]
    await Promise.all(engines.map(({ url }, i) => drover.worker(`n${i}`, [{ url, slots: 4, maxLoaded: 1 }], { gateway })))
    const openai = clientOf(gateway.url)
    const ids = Array.from({ length: 300 }, (_, i) => `line-${i}`)
    const created = await openai.batches.create({
      input_file_id: (await uploadText(openai, ids.map((id, i) => chatLine(id, { model: MODELS[i % 2]! })).join(''))).id,
      endpoint: '/v1/chat/completions',
      completion_window: '24h',
      metadata: { from: 'a test' },
      output_expires_after: { anchor: 'created_at', seconds: 7200 },
    })
    expect(created).toMatchObject({ object: 'batch', status: 'validating', endpoint: '/v1/chat/completions', completion_window: '24h', errors: null, output_file_id: null, error_file_id: null, metadata: { from: 'a test' } })
    expect((created.expires_at ?? 0) - created.created_at).toBe(24 * 3600)
    const batch = await ended(() => openai, created.id)
    expect(batch).toMatchObject({ status: 'completed', error_file_id: null, errors: null })
    const { in_progress_at: began, finalizing_at: finalizing, completed_at: completed } = batch
    expect([created.created_at, began, finalizing, completed].every((at, i, list) => i === 0 || (at ?? 0) >= (list[i - 1] ?? Infinity))).toBe(true)
    const results = await resultsOf(openai, batch)
    expectOnce(batch, results, ids)
    expectAnswers(results.output, 5)
    expect(results.output[0]).toMatchObject({ id: expect.stringMatching(/^batch_req_/), response: { request_id: expect.stringMatching(/^0-/), body: { object: 'chat.completion' } }, error: null })
    const output = await openai.files.retrieve(batch.output_file_id ?? '')
    expect(output).toMatchObject({ purpose: 'batch_output' })
    expect((output.expires_at ?? 0) - output.created_at).toBe(7200)
    // Nobody waited for the other model to be done.
    const stats = await Promise.all(engines.map((engine) => engine.admin.stats()))
    expect(stats.map(({ requests }) => requests > 0)).toEqual([true, true, true])
    expect((await all(await openai.batches.list({ limit: 1 }))).map(({ id }) => id)).toEqual([created.id])
  })

  test('what is wrong with a file is told with the numbers of its lines, and nothing of it runs', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway({ ...place.env, DROVER_BATCH_LINES: '20' })
    const engine = await scripted()
    await drover.worker('n', [engine.url], { gateway })
    const openai = clientOf(gateway.url)
    const wrong: [string, { code: string; line: number | null; param: string | null }[]][] = [
      ['', [{ code: 'empty_file', line: null, param: null }]],
      [`${chatLine('a')}\n{"custom_id":\n${chatLine('a')}`, [{ code: 'invalid_json_line', line: 3, param: null }, { code: 'duplicate_custom_id', line: 4, param: 'custom_id' }]],
      [chatLine('a').replace('"a"', '7'), [{ code: 'missing_required_parameter', line: 1, param: 'custom_id' }]],
      [chatLine('a').replace('POST', 'GET'), [{ code: 'invalid_method', line: 1, param: 'method' }]],
      [chatLine('a').replace('/v1/chat/completions', '/v1/completions'), [{ code: 'invalid_url', line: 1, param: 'url' }]],
      [chatLine('a', { model: 'nobody-has-it' }), [{ code: 'model_not_found', line: 1, param: 'body.model' }]],
      [chatLine('a', { fields: { temperature: 'hot' } }) + chatLine('b', { fields: { stream: true } }), [{ code: 'invalid_request', line: 1, param: 'body' }, { code: 'invalid_request', line: 2, param: 'body' }]],
      [Array.from({ length: 21 }, (_, i) => chatLine(`l${i}`)).join(''), [{ code: 'too_many_lines', line: 21, param: null }]],
    ]
    for (const [text, errors] of wrong) {
      const batch = await ended(() => openai, (await submit(openai, text)).id)
      expect({ text: text.slice(0, 40), status: batch.status, errors: batch.errors?.data }).toMatchObject({ text: text.slice(0, 40), status: 'failed', errors })
      expect(batch).toMatchObject({ request_counts: { total: 0, completed: 0, failed: 0 }, output_file_id: null, error_file_id: null })
    }
    expect((await engine.admin.stats()).requests).toBe(0)
    const { id } = await uploadText(openai, chatLine('a'))
    await expect(openai.batches.create({ input_file_id: 'file-none', endpoint: '/v1/chat/completions', completion_window: '24h' })).rejects.toThrow(/400 input_file_id: there is no file/)
    await expect(openai.batches.create({ input_file_id: id, endpoint: '/v1/moderations', completion_window: '24h' })).rejects.toThrow(/400 endpoint/)
    await expect(openai.batches.create({ input_file_id: id, endpoint: '/v1/chat/completions', completion_window: '1h' as '24h' })).rejects.toThrow(/400 completion_window/)
    await expect(openai.batches.create({ input_file_id: id, endpoint: '/v1/chat/completions', completion_window: '24h', metadata: { a: 'x'.repeat(513) } })).rejects.toThrow(/400 metadata/)
    await expect(openai.batches.retrieve('batch_none')).rejects.toThrow(/404 No batch found/)
  })

  test('requests that fail stand in the error file with what their client would have got', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway(place.env)
    const engine = await scripted({ slots: 4 })
    await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway })
    const openai = clientOf(gateway.url)
    const batch = await ended(() => openai, (await submit(openai, chatLine('good') + chatLine('refused', { script: 'fail=400' }) + chatLine('broken', { script: 'fail=500' }))).id)
    const results = await resultsOf(openai, batch)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 3, completed: 1, failed: 2 } })
    expectOnce(batch, results, ['good', 'refused', 'broken'])
    const byId = Object.fromEntries(results.errors.map((line) => [line.custom_id, line]))
    expect(byId['refused']).toMatchObject({ response: { status_code: 400, body: { error: {} } }, error: null })
    expect(byId['broken']?.response?.status_code).toBeGreaterThanOrEqual(500)
  })

  test('a batch that is cancelled keeps what was answered, stops its engines and tells of the rest', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway(place.env)
    const engine = await scripted({ slots: 4 })
    await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway })
    const openai = clientOf(gateway.url)
    const ids = Array.from({ length: 1200 }, (_, i) => `c${i}`)
    const { id } = await submit(openai, ids.map((each, i) => chatLine(each, i < 20 ? {} : { script: 'tokens=1000 rate=5' })).join(''))
    await until('twenty are answered', async () => ((await openai.batches.retrieve(id)).request_counts?.completed ?? 0) >= 20)
    expect((await openai.batches.cancel(id)).status).toBe('cancelling')
    const batch = await ended(() => openai, id)
    const results = await resultsOf(openai, batch)
    expect(batch).toMatchObject({ status: 'cancelled', request_counts: { total: 1200, completed: 20, failed: 0, cancelled: 1180, expired: 0 } })
    expect(batch.cancelled_at).toBeGreaterThanOrEqual(batch.cancelling_at ?? Infinity)
    expectOnce(batch, results, ids)
    expect(results.errors.every(({ response, error }) => response === null && error?.code === 'batch_cancelled')).toBe(true)
    await until('no engine works on', async () => (await engine.admin.stats()).running === 0)
    await until('no lane holds a job', async () => (await statusOf(gateway.url)).lanes.every(({ waiting, running }) => waiting + running === 0))
    await expect(openai.batches.cancel(id)).rejects.toThrow(/409 Cannot cancel/)
  })

  test('a batch whose window ends keeps what was answered and tells which requests were not', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway({ ...place.env, DROVER_BATCH_WINDOW: '10s' })
    const engine = await scripted({ slots: 4 })
    await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway })
    const openai = clientOf(gateway.url)
    const ids = Array.from({ length: 60 }, (_, i) => `e${i}`)
    const { id } = await submit(openai, ids.map((each, i) => chatLine(each, i < 10 ? {} : { script: 'tokens=1000 rate=5' })).join(''))
    const batch = await ended(() => openai, id)
    const results = await resultsOf(openai, batch)
    expect(batch).toMatchObject({ status: 'expired', request_counts: { total: 60, completed: 10, failed: 0, cancelled: 0, expired: 50 } })
    expect(batch.expired_at).toBeGreaterThanOrEqual((batch.expires_at ?? Infinity) - 1)
    expectOnce(batch, results, ids)
    expect(results.errors.every(({ response, error }) => response === null && error?.code === 'batch_expired')).toBe(true)
  })

  test('results can be read while a batch runs, and its file may be deleted meanwhile', async ({ drover, scripted, place }) => {
    const gateway = await drover.gateway(place.env)
    const engine = await scripted({ slots: 4 })
    await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway })
    await engine.admin.set({ first_ms: 50, tokens: 5 })
    await engine.admin.set({ hold: 1 }, 'p59')
    const openai = clientOf(gateway.url)
    const ids = Array.from({ length: 60 }, (_, i) => `p${i}`)
    const { id, input_file_id: input } = await submit(openai, ids.map((each) => chatLine(each)).join(''))
    await openai.files.delete(input)
    const partial = async () => readLines(await (await fetch(`${gateway.url}/api/batches/${id}/results`)).text())
    await until('some results are there', async () => (await partial()).length >= 8)
    const some = await partial()
    expect((await openai.batches.retrieve(id)).status).toBe('in_progress')
    expect(some.length).toBeLessThan(60)
    expectAnswers(some, 5)
    await engine.admin.release('p59')
    const batch = await ended(() => openai, id)
    const results = await resultsOf(openai, batch)
    expectOnce(batch, results, ids)
    expect(results.output.slice(0, some.length)).toEqual(some)
    expect(await partial()).toEqual(results.output)
  })

  test('what is sent again with its Idempotency-Key is one file and one batch, and another request with it is refused', async ({ drover, scripted, place }) => {
    const gateways = await Promise.all([1, 2].map(() => drover.gateway(place.env)))
    const engine = await scripted({ slots: 4 })
    await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway: gateways[0]! })
    const [one, other] = gateways.map(({ url }) => clientOf(url)) as [OpenAI, OpenAI]
    const headers = { 'idempotency-key': 'the same' }
    const upload = async (openai: OpenAI, text: string) => openai.files.create({ file: await toFile(Buffer.from(text), 'in.jsonl'), purpose: 'batch' }, { headers })
    const files = await Promise.all([upload(one, chatLine('a')), upload(other, chatLine('a')), upload(one, chatLine('a'))])
    expect(new Set(files.map(({ id }) => id)).size).toBe(1)
    await expect(upload(one, chatLine('b'))).rejects.toThrow(/422/)
    expect(await (await one.files.content(files[0]!.id)).text()).toBe(chatLine('a'))
    const create = (openai: OpenAI, metadata: Record<string, string>) => openai.batches.create({ input_file_id: files[0]!.id, endpoint: '/v1/chat/completions', completion_window: '24h', metadata }, { headers })
    const batches = await Promise.all([create(one, {}), create(other, {}), create(other, {})])
    expect(new Set(batches.map(({ id }) => id)).size).toBe(1)
    await expect(create(one, { another: 'request' })).rejects.toThrow(/422/)
    const batch = await ended(() => one, batches[0]!.id)
    expect((await create(other, {})).status).toBe('completed')
    expectOnce(batch, await resultsOf(one, batch), ['a'])
    expect((await engine.admin.stats()).requests).toBe(1)
  })
})

test.for(['/v1/completions', '/v1/embeddings', '/v1/responses', '/api/chat', '/api/generate', '/api/embed'] as const)('a batch runs requests for %s', async (endpoint, { drover, scripted, place }) => {
  const gateway = await drover.gateway(place.env)
  const engine = await scripted({ slots: 4 })
  await drover.worker('n', [{ url: engine.url, slots: 4 }], { gateway })
  const openai = clientOf(gateway.url)
  const prompt = 'job=x tokens=5'
  const fields = { '/v1/completions': { prompt }, '/v1/embeddings': { input: 'a text' }, '/v1/responses': { input: prompt }, '/api/chat': { messages: [{ role: 'user', content: prompt }] }, '/api/generate': { prompt }, '/api/embed': { input: 'a text' } }[endpoint]
  const text = ['a', 'b'].map((id) => `${JSON.stringify({ custom_id: id, method: 'POST', url: endpoint, body: { model: 'scripted', ...fields } })}\n`).join('')
  const batch = await ended(() => openai, (await submit(openai, text, endpoint as '/v1/completions')).id)
  const results = await resultsOf(openai, batch)
  expect({ status: batch.status, errors: results.errors }).toEqual({ status: 'completed', errors: [] })
  expectOnce(batch, results, ['a', 'b'])
  const key = { '/v1/completions': 'choices', '/v1/embeddings': 'data', '/v1/responses': 'output', '/api/chat': 'message', '/api/generate': 'response', '/api/embed': 'embeddings' }[endpoint]
  expect(results.output.every(({ response }) => response?.status_code === 200 && key in response.body)).toBe(true)
})
