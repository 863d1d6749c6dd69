import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { expect, onTestFinished, test } from 'vitest'
import { startScriptedEngine } from './server.ts'
import { spawnScriptedEngine } from './spawn.ts'
import { expectedText, token, verifyText } from './tokens.ts'

const post = (url: string, path: string, body: unknown, signal?: AbortSignal) =>
  fetch(new URL(path, url), { method: 'POST', body: JSON.stringify(body), ...(signal && { signal }) })

const ask = (content: string, more: object = {}) => ({ model: 'scripted', messages: [{ role: 'user', content }], ...more })

const lines = async (answer: Response) =>
  (await answer.text()).trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)

const events = async (answer: Response) =>
  (await answer.text()).split('\n\n').filter(Boolean).map((event) => event.slice('data: '.length))

const choices = (text = '{}') => (JSON.parse(text) as { choices: unknown }).choices

const openaiAt = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })

/** The raw bytes of an answer until the server closes it or sends its last chunk. */
const rawPost = (url: string, path: string, body: unknown): Promise<Buffer[]> =>
  new Promise((resolve, reject) => {
    const text = JSON.stringify(body)
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    const chunks: Buffer[] = []
    socket.setNoDelay(true)
    const length = Buffer.byteLength(text)
    socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${length}\r\n\r\n${text}`)
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => resolve(chunks))
  })

test('the ollama client chats and generates, streamed and not', async () => {
  const engine = await startScriptedEngine({ models: ['Any Name/at all:v1', 'scripted:latest'] })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const client = new Ollama({ host: engine.url })
  const messages = [{ role: 'user', content: 'hello job=c1 tokens=20' }]
  let text = ''
  let last
  for await (const chunk of await client.chat({ model: 'scripted', messages, stream: true })) {
    text += chunk.message.content
    last = chunk
  }
  expect(verifyText('c1', text)).toEqual({ ok: true, count: 20 })
  expect(last).toMatchObject({ model: 'scripted', done: true, done_reason: 'stop', eval_count: 20 })
  expect(last?.total_duration).toBeGreaterThan(0)
  const whole = await client.chat({ model: 'Any Name/at all:v1', messages })
  expect(whole.message).toEqual({ role: 'assistant', content: expectedText('c1', 20) })
  const generated = await client.generate({ model: 'scripted', prompt: 'job=c2 tokens=9', options: { num_predict: 5 } })
  expect(generated).toMatchObject({ response: expectedText('c2', 5), done: true, done_reason: 'length', eval_count: 5 })
  text = ''
  const streamed = await client.generate({ model: 'scripted', prompt: 'job=c3 tokens=9', stream: true })
  for await (const chunk of streamed) text += chunk.response
  expect(verifyText('c3', text)).toEqual({ ok: true, count: 9 })
  expect((await client.list()).models.map(({ name }) => name)).toEqual(['Any Name/at all:v1', 'scripted:latest'])
  expect((await client.ps()).models).toHaveLength(2)
  expect((await client.show({ model: 'scripted' })).capabilities).toContain('completion')
  await expect(client.chat({ model: 'nobody', messages })).rejects.toThrow("model 'nobody' not found")
})

test.for(['ollama', 'llama-server'] as const)('the openai client talks to a scripted %s, streamed and not', async (kind) => {
  const engine = await startScriptedEngine({ kind })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const client = openaiAt(engine.url)
  const messages = [{ role: 'user' as const, content: 'job=o1 tokens=20' }]
  const withUsage = { stream: true, stream_options: { include_usage: true } } as const
  const stream = await client.chat.completions.create({ model: 'scripted', messages, ...withUsage })
  let text = ''
  const finishes: string[] = []
  let usage
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? ''
    if (chunk.choices[0]?.finish_reason) finishes.push(chunk.choices[0].finish_reason)
    usage = chunk.usage ?? usage
  }
  expect(verifyText('o1', text)).toEqual({ ok: true, count: 20 })
  expect(finishes).toEqual(['stop'])
  expect(usage?.completion_tokens).toBe(20)
  const whole = await client.chat.completions.create({ model: 'scripted', messages, max_tokens: 4 })
  const message = { role: 'assistant', content: expectedText('o1', 4) }
  expect(whole.choices[0]).toMatchObject({ finish_reason: 'length', message })
  expect(whole.usage?.completion_tokens).toBe(4)
  const completed = await client.completions.create({ model: 'scripted', prompt: 'job=o2 tokens=3' })
  expect(completed.choices[0]?.text).toBe(expectedText('o2', 3))
  expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['scripted:latest'])
})

test('NDJSON events have the shape of Ollama, metrics in the last one only', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const answer = await post(engine.url, '/api/chat', ask('job=n1 tokens=2'))
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson')
  const [first, second, last] = await lines(answer)
  const created_at = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
  expect(first).toEqual({ model: 'scripted', created_at, message: { role: 'assistant', content: token('n1', 0) }, done: false })
  expect(Object.keys(second ?? {})).toEqual(['model', 'created_at', 'message', 'done'])
  const message = { role: 'assistant', content: '' }
  expect(last).toMatchObject({ created_at, message, done: true, done_reason: 'stop', eval_count: 2 })
  const generated = await lines(await post(engine.url, '/api/generate', { model: 'scripted', prompt: 'job=n2 tokens=1' }))
  expect(generated[0]).toEqual({ model: 'scripted', created_at, response: token('n2', 0), done: false })
  expect(generated[1]).toMatchObject({ response: '', done: true, context: expect.any(Array) })
})

test('SSE events have the shape of llama-server: role first, finish with timings, then [DONE]', async () => {
  const engine = await startScriptedEngine({ kind: 'llama-server' })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const answer = await post(engine.url, '/v1/chat/completions', ask('job=s1 tokens=1', { stream: true }))
  expect(answer.headers.get('content-type')).toBe('text/event-stream')
  const [role, delta, finish, done] = await events(answer)
  expect(choices(role)).toEqual([{ finish_reason: null, index: 0, delta: { role: 'assistant', content: null } }])
  expect(choices(delta)).toEqual([{ finish_reason: null, index: 0, delta: { content: token('s1', 0) } }])
  expect(JSON.parse(finish ?? '')).toMatchObject({ choices: [{ finish_reason: 'stop', delta: {} }], timings: { predicted_n: 1 } })
  expect(done).toBe('[DONE]')
  const own = await events(await post(engine.url, '/completion', { prompt: 'job=s2 tokens=1', stream: true }))
  expect(own.map((event) => JSON.parse(event) as object)).toMatchObject([
    { content: token('s2', 0), stop: false },
    { stop: true, stop_type: 'eos' },
  ])
})

test('each kind refuses the other kind’s routes as the real one does', async () => {
  const ollama = await startScriptedEngine()
  onTestFinished(() => ollama[Symbol.asyncDispose]())
  const llama = await startScriptedEngine({ kind: 'llama-server', models: [{ name: 'm', slots: 3 }] })
  onTestFinished(() => llama[Symbol.asyncDispose]())
  const slots = await fetch(`${ollama.url}/slots`)
  expect([slots.status, await slots.text()]).toEqual([404, '404 page not found'])
  const wrongMethod = await fetch(`${ollama.url}/api/chat`)
  expect([wrongMethod.status, wrongMethod.headers.get('allow')]).toEqual([405, 'POST'])
  const tags = await fetch(`${llama.url}/api/tags`)
  const error = { message: 'File Not Found', type: 'not_found_error', code: 404 }
  expect([tags.status, await tags.json()]).toEqual([404, { error }])
  expect(await (await fetch(`${llama.url}/props`)).json()).toMatchObject({ total_slots: 3, model_alias: 'm' })
  expect(await (await fetch(`${llama.url}/metrics`)).text()).toContain('llamacpp:requests_processing 0\n')
  expect((await fetch(`${ollama.url}/`, { method: 'HEAD' })).status).toBe(200)
})

test('a partial answer is continued exactly: chat, raw prompt, rendered prompt, completion', async () => {
  const ollama = await startScriptedEngine()
  onTestFinished(() => ollama[Symbol.asyncDispose]())
  const llama = await startScriptedEngine({ kind: 'llama-server' })
  onTestFinished(() => llama[Symbol.asyncDispose]())
  const whole = expectedText('p1', 24)
  const user = { role: 'user', content: 'say job=p1 tokens=24' }
  for (const cut of [0, 1, token('p1', 0).length, 30, 100, whole.length - 2, whole.length]) {
    const partial = whole.slice(0, cut)
    const messages = [user, { role: 'assistant', content: partial }]
    const chatted = await lines(await post(ollama.url, '/api/chat', { model: 'scripted', messages }))
    const rest = chatted.map(({ message }) => (message as { content: string }).content).join('')
    expect(partial + rest).toBe(whole)
    const rendered = await post(ollama.url, '/api/chat', { model: 'scripted', messages: [user], _debug_render_only: true })
    const { _debug_info: { rendered_template: prompt } } = (await rendered.json()) as { _debug_info: { rendered_template: string } }
    const raw = await post(ollama.url, '/api/generate', { model: 'scripted', prompt: prompt + partial, raw: true, stream: false })
    expect(partial + ((await raw.json()) as { response: string }).response).toBe(whole)
    const prefilled = await post(llama.url, '/v1/chat/completions', { messages })
    expect(((await prefilled.json()) as { choices: [{ message: { content: string } }] }).choices[0].message.content).toBe(whole)
    const applied = (await (await post(llama.url, '/apply-template', { messages })).json()) as { prompt: string }
    const completed = await post(llama.url, '/completion', applied)
    expect(partial + ((await completed.json()) as { content: string }).content).toBe(whole)
  }
  const bare = await post(llama.url, '/v1/completions', { prompt: `${user.content}\n${whole.slice(0, 30)}` })
  expect(whole.slice(0, 30) + ((await bare.json()) as { choices: [{ text: string }] }).choices[0].text).toBe(whole)
  expect((await ollama.admin.job('p1')).runs.at(-1)).toMatchObject({ from: 24, tokens: 0, end: 'completed' })
})

test('a model whose template closes the turn begins anew after a partial answer', async () => {
  const engine = await startScriptedEngine({ models: [{ name: 'scripted', continues: false }] })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const messages = [{ role: 'user', content: 'job=p2 tokens=4' }, { role: 'assistant', content: expectedText('p2', 2) }]
  const answer = await post(engine.url, '/api/chat', { model: 'scripted', messages, stream: false })
  expect(((await answer.json()) as { message: { content: string } }).message.content).toBe(expectedText('p2', 4))
})

test('told to, it closes the connection behind a streamed answer, which is whole', async () => {
  const engine = await startScriptedEngine({ kind: 'llama-server', closesStreams: true })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const reused: boolean[] = []
  for (let i = 0; i < 3; i++) {
    const call = request(`${engine.url}/v1/chat/completions`, { method: 'POST', agent })
    call.end(JSON.stringify(ask('job=k tokens=2', { stream: true })))
    const [answer] = (await once(call, 'response')) as [IncomingMessage]
    const socket = answer.socket
    expect((await answer.toArray()).join('')).toMatch(/data: \[DONE\]\n\n$/)
    reused.push(call.reusedSocket)
    if (!socket.destroyed) await once(socket, 'close')
  }
  expect(reused).toEqual([false, false, false])
  agent.destroy()
})

test('stop strings end the answer before them', async () => {
  const engine = await startScriptedEngine({ kind: 'llama-server' })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const whole = expectedText('st', 8)
  const stop = whole.slice(30, 36)
  const answer = await post(engine.url, '/v1/chat/completions', ask('job=st tokens=8', { stop: [stop, 'never'] }))
  const { choices: [choice] } = (await answer.json()) as { choices: [{ message: { content: string }; finish_reason: string }] }
  expect(choice).toMatchObject({ message: { content: whole.slice(0, whole.indexOf(stop)) }, finish_reason: 'stop' })
})

test('requests beyond the slots wait without a header, and runs are counted', async () => {
  const engine = await startScriptedEngine({ slots: 2 })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const begin = (key: string) => post(engine.url, '/api/chat', ask(`job=${key} tokens=3 stall_at=1`))
  await Promise.all([begin('w1'), begin('w2')])
  const waiting = begin('w3')
  await expect.poll(async () => (await engine.admin.stats()).models['scripted:latest']).toMatchObject({ running: 2, waiting: 1 })
  expect((await engine.admin.job('w3')).running).toBe(0)
  await engine.admin.release('w1')
  const third = await waiting
  await engine.admin.release()
  expect(await lines(third)).toHaveLength(4)
  await expect.poll(async () => (await engine.admin.stats()).running).toBe(0)
  expect(await engine.admin.stats()).toMatchObject({ maxRunning: 2, requests: 3, tokens: 9, aborts: 0, loads: 1 })
})

test('a client that leaves while decoding is counted as an abort and frees the slot; one that waits never decodes', async () => {
  const engine = await startScriptedEngine({ kind: 'llama-server' })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const leaver = new AbortController()
  const stalls = ask('job=a1 tokens=100 stall_at=5', { stream: true })
  const running = await post(engine.url, '/v1/chat/completions', stalls, leaver.signal)
  const waiting = new AbortController()
  const second = post(engine.url, '/v1/chat/completions', ask('job=a2', { stream: true }), waiting.signal).catch(() => 'left')
  await expect.poll(async () => (await engine.admin.job('a2')).requests).toBe(1)
  waiting.abort()
  expect(await second).toBe('left')
  await expect.poll(async () => (await engine.admin.job('a2')).left).toBe(1)
  expect(await (await fetch(`${engine.url}/metrics`)).text()).toContain('llamacpp:requests_deferred 1\n')
  leaver.abort()
  await expect.poll(async () => (await engine.admin.job('a1')).aborts).toBe(1)
  expect(running.status).toBe(200)
  expect(await engine.admin.job('a1')).toMatchObject({ running: 0, tokens: 5, runs: [{ from: 0, tokens: 5, end: 'aborted' }] })
  expect(await engine.admin.job('a2')).toMatchObject({ tokens: 0, runs: [] })
  expect(await (await fetch(`${engine.url}/metrics`)).text()).toContain('llamacpp:requests_deferred 0\n')
})

test('Ollama notices that the client of a non-streamed request has left', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const leaver = new AbortController()
  const stalls = ask('job=d0 tokens=8 stall_at=2', { stream: false })
  const answer = post(engine.url, '/api/chat', stalls, leaver.signal).catch(() => 'left')
  await expect.poll(async () => (await engine.admin.job('d0')).runs[0]?.tokens).toBe(2)
  leaver.abort()
  expect(await answer).toBe('left')
  await expect.poll(async () => (await engine.admin.job('d0')).runs).toEqual([{ from: 0, tokens: 2, end: 'aborted' }])
})

test('llama-server does not notice that the client of a non-streamed request has left', async () => {
  const engine = await startScriptedEngine({ kind: 'llama-server' })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const leaver = new AbortController()
  const answer = post(engine.url, '/v1/chat/completions', ask('job=d1 tokens=8 stall_at=2'), leaver.signal).catch(() => 'left')
  await expect.poll(async () => (await engine.admin.job('d1')).running).toBe(1)
  leaver.abort()
  expect(await answer).toBe('left')
  await engine.admin.release()
  await expect.poll(async () => (await engine.admin.job('d1')).runs).toEqual([{ from: 0, tokens: 8, end: 'completed' }])
})

test('models load one at a time, and the idle one that expires first is thrown out', async () => {
  const engine = await startScriptedEngine({ models: ['m1', 'm2', 'm3'], maxLoaded: 2, loadMs: 30, swapMs: 20 })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const chat = async (model: string, more: object = {}) =>
    lines(await post(engine.url, '/api/chat', { ...ask(`job=${model} tokens=1`), model, ...more }))
  const first = await chat('m1', { keep_alive: '10m' })
  expect(first.at(-1)?.['load_duration']).toBeGreaterThanOrEqual(25e6)
  expect((await chat('m1')).at(-1)?.['load_duration']).toBe(1)
  await Promise.all([chat('m2', { keep_alive: 60 }), chat('m1', { keep_alive: -1 })])
  await chat('m3')
  const { models, loads, evictions } = await engine.admin.stats()
  expect({ loads, evictions }).toEqual({ loads: 3, evictions: 1 })
  expect(models).toMatchObject({ m1: { loaded: true }, m2: { loaded: false, evictions: 1 }, m3: { loaded: true } })
  const unloaded = await post(engine.url, '/api/generate', { model: 'm3', keep_alive: 0 })
  expect(await unloaded.json()).toMatchObject({ response: '', done: true, done_reason: 'unload' })
  const ps = (await (await fetch(`${engine.url}/api/ps`)).json()) as { models: { name: string }[] }
  expect(ps.models.map(({ name }) => name)).toEqual(['m1'])
})

test('a llama-server answers 503 everywhere until its model is loaded', async () => {
  const engine = await startScriptedEngine({ kind: 'llama-server', loadMs: 1_500 })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const health = await fetch(`${engine.url}/health`)
  const error = { message: 'Loading model', type: 'unavailable_error', code: 503 }
  expect([health.status, await health.json()]).toEqual([503, { error }])
  await expect.poll(async () => (await fetch(`${engine.url}/health`)).status).toBe(200)
})

test('more requests than may wait for a load are refused with 503', async () => {
  const engine = await startScriptedEngine({ maxQueue: 1, loadMs: 1_500 })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const [one, two] = await Promise.all([1, 2].map(() => post(engine.url, '/api/chat', ask('job=q tokens=1'))))
  const refused = one?.status === 503 ? one : two
  expect([one?.status, two?.status].toSorted()).toEqual([200, 503])
  expect(await refused?.json()).toEqual({ error: 'server busy, please try again.  maximum pending requests exceeded' })
})

test('faults before the first byte: refusals so often as told, nonsense, a dropped connection', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const statuses = []
  for (let i = 0; i < 3; i++) statuses.push((await post(engine.url, '/api/chat', ask('job=f1 fail=503 times=2'))).status)
  expect(statuses).toEqual([503, 503, 200])
  await engine.admin.set({ fail: 500, times: 1 })
  expect((await post(engine.url, '/v1/chat/completions', ask('job=f2'))).status).toBe(500)
  expect((await post(engine.url, '/v1/chat/completions', ask('job=f2'))).status).toBe(200)
  const html = await post(engine.url, '/api/chat', ask('job=f3 nonsense=html'))
  expect([html.status, html.headers.get('content-type')]).toEqual([200, 'text/html'])
  await expect(post(engine.url, '/api/chat', ask('job=f4 drop=1'))).rejects.toThrow('fetch failed')
})

test('a held request gets no header until it is released, a silent one never', async () => {
  const engine = await startScriptedEngine({ slots: 2 })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  await engine.admin.set({ hold: 1 }, 'h1')
  let answered = false
  const held = post(engine.url, '/api/chat', ask('job=h1 tokens=2')).then((answer) => ((answered = true), answer))
  await expect.poll(async () => (await engine.admin.job('h1')).running).toBe(1)
  expect(answered).toBe(false)
  await engine.admin.release('h1')
  expect(await lines(await held)).toHaveLength(3)
  await expect(post(engine.url, '/api/chat', ask('job=h2 silent=1'), AbortSignal.timeout(150))).rejects.toThrow()
  await expect.poll(async () => (await engine.admin.job('h2')).runs).toMatchObject([{ tokens: 0, end: 'aborted' }])
})

test('a stream that is cut, or ends without its end event, shows whole tokens and no end', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const cut = await post(engine.url, '/api/chat', ask('job=e1 tokens=9 cut_at=4'))
  const reader = cut.body?.pipeThrough(new TextDecoderStream())
  let seen = ''
  await expect(async () => {
    for await (const text of reader ?? []) seen += text
  }).rejects.toThrow()
  expect(seen.split('\n')).toHaveLength(5)
  const eof = await lines(await post(engine.url, '/api/chat', ask('job=e2 tokens=9 eof_at=4')))
  expect(eof).toHaveLength(4)
  expect(eof.every(({ done }) => done === false)).toBe(true)
  const bare = await post(engine.url, '/api/chat', ask('job=e3 tokens=9 eof_at=4', { stream: false }))
  expect(await bare.json()).toMatchObject({ message: { content: expectedText('e3', 4) }, done: false })
  const error = await lines(await post(engine.url, '/api/chat', ask('job=e4 tokens=9 error_at=2')))
  expect(error).toHaveLength(3)
  expect(error[2]).toEqual({ error: expect.stringContaining('an error was encountered') })
  expect((await engine.admin.stats()).jobs).toMatchObject({
    e1: { runs: [{ tokens: 4, end: 'cut' }] }, e2: { runs: [{ end: 'eof' }] }, e4: { runs: [{ end: 'error' }] },
  })
})

test('an error event of a llama-server is thrown by the openai client', async () => {
  const engine = await startScriptedEngine({ kind: 'llama-server' })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const messages = [{ role: 'user' as const, content: 'job=e5 tokens=9 error_at=3' }]
  const stream = await openaiAt(engine.url).chat.completions.create({ model: 'x', messages, stream: true })
  let text = ''
  await expect(async () => {
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  }).rejects.toThrow('scripted failure')
  expect(verifyText('e5', text)).toEqual({ ok: true, count: 3 })
})

test('a character comes in two halves and the text is whole; a bad byte and a garbage line are really there', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const halves = await rawPost(engine.url, '/api/chat', ask('job=u1 tokens=12 split_at=3'))
  const torn = halves.some((chunk) => new TextDecoder('utf8').decode(chunk).includes('\uFFFD'))
  expect(torn).toBe(true)
  const split = await lines(await post(engine.url, '/api/chat', ask('job=u1 tokens=12 split_at=3')))
  expect(split.map(({ message }) => (message as { content: string }).content).join('')).toBe(expectedText('u1', 12))
  const bad = Buffer.from(await (await post(engine.url, '/api/chat', ask('job=u2 tokens=4 bad_byte_at=2'))).arrayBuffer())
  const place = bad.indexOf(0xff)
  expect(bad.subarray(0, place).toString().endsWith(token('u2', 2))).toBe(true)
  const garbage = (await (await post(engine.url, '/api/chat', ask('job=u3 tokens=4 garbage_at=2'))).text()).trimEnd().split('\n')
  expect(garbage).toHaveLength(6)
  expect(() => JSON.parse(garbage[2] ?? '') as unknown).toThrow(SyntaxError)
})

test('tokens keep their pace', async () => {
  const engine = await startScriptedEngine({ script: { rate: 100 } })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const events = await lines(await post(engine.url, '/api/chat', ask('job=r1 tokens=21 first_ms=50')))
  const times = events.slice(0, 21).map((event) => Date.parse(String(event['created_at'])))
  expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(190)
  expect(events.at(-1)?.['prompt_eval_duration']).toBeGreaterThanOrEqual(45e6)
})

test('a reader that does not read is not decoded for beyond the buffers', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const answer = await post(engine.url, '/api/chat', ask('job=b1 tokens=5000000'))
  const decoded = async () => (await engine.admin.job('b1')).runs[0]?.tokens ?? 0
  await expect.poll(async () => {
    const before = await decoded()
    await sleep(150)
    return before > 0 && (await decoded()) === before
  }, { timeout: 10_000 }).toBe(true)
  expect(await engine.admin.job('b1')).toMatchObject({ running: 1 })
  await answer.body?.cancel()
  await expect.poll(async () => (await engine.admin.job('b1')).runs[0]?.end).toBe('aborted')
})

test('the last requests are shown with headers and body, and reset forgets', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  await (await post(engine.url, '/api/chat', ask('job=l1 tokens=1'))).text()
  const { last } = await engine.admin.stats()
  expect(last).toMatchObject([{ path: '/api/chat', key: 'l1', headers: { host: expect.any(String) } }])
  expect(JSON.parse(last[0]?.body ?? '')).toEqual(ask('job=l1 tokens=1'))
  await engine.admin.reset()
  expect(await engine.admin.stats()).toMatchObject({ requests: 0, tokens: 0, last: [], jobs: {} })
  await engine.admin.models(['other:1b'])
  expect((await post(engine.url, '/api/chat', ask('job=l1'))).status).toBe(404)
})

test('a request that makes no sense gets the engine’s own error', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const bad = await fetch(`${engine.url}/api/chat`, { method: 'POST', body: '{"model":' })
  expect([bad.status, Object.keys((await bad.json()) as object)]).toEqual([400, ['error']])
  expect(await (await post(engine.url, '/api/chat', {})).json()).toEqual({ error: 'model is required' })
  expect(await (await post(engine.url, '/v1/chat/completions', { model: 'nobody' })).json()).toMatchObject({
    error: { type: 'not_found_error', message: "model 'nobody' not found" },
  })
  await expect(engine.admin.set({ sleep: 3 } as object)).rejects.toThrow('"sleep" is not a field')
})

test('told to die in mid-stream, the process is gone and the stream is cut', async () => {
  const engine = await spawnScriptedEngine({ kind: 'llama-server', models: ['m'], script: { tokens: 40 } })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  await engine.admin.set({ die_at: 6 }, 'x1')
  const answer = await post(engine.url, '/v1/chat/completions', ask('job=x1', { stream: true }))
  await expect(answer.text()).rejects.toThrow()
  expect(await engine.exited).toBe(134)
})

test('an engine in this process that dies closes its port', async () => {
  const engine = await startScriptedEngine()
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const answer = await post(engine.url, '/api/chat', ask('job=x2 tokens=9 die_at=3'))
  await expect(answer.text()).rejects.toThrow()
  await expect(fetch(engine.url)).rejects.toThrow('fetch failed')
})
