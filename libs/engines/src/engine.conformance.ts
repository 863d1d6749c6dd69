import { Buffer } from 'node:buffer'
import { HeldModel, isCanonical, LoadedModel } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import type { Engine } from './engine.ts'
import { recordingSink } from './recording-sink.ts'
import { deadUrl, json, standIn } from './stand-in.ts'
import type { Heard } from './stand-in.ts'

/** One adapter, and a stand-in for its engine. */
export interface ConformanceSubject {
  make(address: { id: string; url: string; apiKey?: string }): Engine
  /** Answers every GET as the engine would. */
  documents(heard: Heard): void
  /** An endpoint of the engine, a request for it and the answer that the engine would stream, as text. */
  exchange: { path: string; body: string; contentType: string; answer: string }
}

const silent = (): void => {}

const aGateway = ({ response }: Heard): void => {
  response.writeHead(200, { 'x-drover': 'gateway/0.1.0' }).end('{"version":"0.33.0"}')
}

/** What every engine adapter must do, whatever the engine is. */
export const engineConformance = ({ make, documents, exchange }: ConformanceSubject): void => {
  const { path, body, contentType, answer } = exchange
  const never = new AbortController().signal

  /** An engine whose stand-in answers POSTs with `post`, and everything else with `get`. */
  const open = async (post: (heard: Heard) => void, get: (heard: Heard) => void = documents) => {
    const server = await standIn((heard) => (heard.method === 'POST' ? post(heard) : get(heard)))
    const engine = make({ id: 'conformance', url: server.url })
    onTestFinished(async () => {
      await engine.close()
      await server[Symbol.asyncDispose]()
    })
    return { server, engine }
  }
  test('looking gives models under canonical names, with digests, and slots', async () => {
    const { engine } = await open(silent)
    const view = await engine.look(never)
    expect(view.held.length).toBeGreaterThan(0)
    for (const held of view.held) {
      expect(HeldModel.parse(held)).toEqual(held)
      expect(isCanonical(held.model)).toBe(true)
      expect(held.digest).toMatch(/^[0-9a-f]{64}$/)
      expect(new Date(held.modifiedAt).getTime()).not.toBeNaN()
    }
    const names = view.held.map(({ model }) => model)
    expect(new Set(names).size).toBe(names.length)
    for (const loaded of view.loaded) {
      expect(LoadedModel.parse(loaded)).toEqual(loaded)
      expect(names).toContain(loaded.model)
    }
    expect(view.slotsPerModel).toBeGreaterThan(0)
    expect(view.maxLoaded).toBeGreaterThan(0)
  })

  test('looking twice at an engine that has not changed gives the same view', async () => {
    const { engine } = await open(silent)
    expect(await engine.look(never)).toEqual(await engine.look(never))
  })

  test('looking sends the key', async () => {
    const { server } = await open(silent)
    const engine = make({ id: 'conformance', url: server.url, apiKey: 'engine-key' })
    await engine.look(never)
    expect(server.heard.every(({ headers }) => headers.authorization === 'Bearer engine-key')).toBe(true)
    await engine.close()
  })

  test.each<[string, (heard: Heard) => void]>([
    ['says nothing of the kind', ({ response }) => json(response, { models: 'none', data: 7 })],
    ['is a web site', ({ response }) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>')],
    ['fails', ({ response }) => json(response, { error: 'broken' }, 500)],
    ['hangs up', ({ response }) => response.destroy()],
    ['is a Drover gateway', aGateway],
  ])('looking fails as engine_failed where the address %s', async (_what, get) => {
    const { engine } = await open(silent, get)
    const error = await engine.look(never).catch((thrown: unknown) => thrown)
    const message = expect.stringContaining('engine conformance')
    expect(error).toMatchObject({ name: 'BrokerError', code: 'engine_failed', message })
  })

  test('looking fails as engine_failed where nobody listens', async () => {
    const engine = make({ id: 'conformance', url: await deadUrl() })
    const message = 'engine conformance refused the connection'
    await expect(engine.look(never)).rejects.toMatchObject({ code: 'engine_failed', message })
    await engine.close()
  })

  test('looking ends with the reason of its signal', async () => {
    const { engine } = await open(silent, silent)
    const leaving = new AbortController()
    const look = engine.look(leaving.signal)
    setTimeout(() => leaving.abort(new Error('drain')), 20)
    await expect(look).rejects.toThrow('drain')
  })

  test('a streamed answer passes untouched, in order, and ends once', async () => {
    const { server, engine } = await open(({ response }) => {
      response.writeHead(200, { 'content-type': contentType })
      for (const piece of answer.match(/[^]{1,7}/g) ?? []) response.write(piece)
      response.end()
    })
    const sink = recordingSink()
    engine.post({ path, body }, sink)
    expect(await sink.over).toBe('end')
    expect(sink).toMatchObject({ status: 200, contentType, received: answer })
    expect(sink.calls.filter((call) => call !== 'text')).toEqual(['head', 'end'])
    expect(server.heard).toMatchObject([{ method: 'POST', path, body }])
    expect(server.heard[0]?.headers.authorization).toBeUndefined()
  })

  test('a refusal arrives with its status and text', async () => {
    const { engine } = await open(({ response }) => json(response, { error: 'no such model' }, 404))
    const sink = recordingSink()
    engine.post({ path, body }, sink)
    expect(await sink.over).toBe('end')
    expect(sink).toMatchObject({ status: 404, received: '{"error":"no such model"}' })
  })

  test('abort stops the engine and is told once', async () => {
    let stopped = 0
    const { engine } = await open(({ response }) => {
      response.on('close', () => stopped++)
      response.writeHead(200, { 'content-type': contentType }).write(answer.slice(0, 20))
    })
    const begun = Promise.withResolvers<void>()
    const sink = recordingSink(() => begun.resolve())
    const call = engine.post({ path, body }, sink)
    await begun.promise
    call.abort('left')
    await expect.poll(() => stopped).toBe(1)
    expect(sink.error).toBe('left')
    expect(sink.calls.filter((name) => name === 'end' || name === 'fail')).toEqual(['fail'])
  })

  test('an answer cut by a lost connection is a failure, not an end', async () => {
    const { engine } = await open(({ response }) => {
      response.writeHead(200, { 'content-type': contentType })
      response.write(answer.slice(0, 20), () => setImmediate(() => response.destroy()))
    })
    const sink = recordingSink()
    engine.post({ path, body }, sink)
    expect(await sink.over).toBe('fail')
    expect(sink.error).toMatchObject({ code: 'engine_failed' })
  })

  test('a question is asked by POST, and its answer comes whole with its status', async () => {
    const { server, engine } = await open(({ response }) => json(response, { prompt: 'x' }, 422))
    expect(await engine.ask({ path, body }, never)).toEqual({ status: 422, json: { prompt: 'x' } })
    expect(server.heard).toMatchObject([{ method: 'POST', path, body }])
    const { engine: silly } = await open(({ response }) => response.end('<html>'))
    expect(await silly.ask({ path, body }, never)).toEqual({ status: 200, json: undefined })
  })

  test.each<[string, (heard: Heard) => void, string]>([
    ['hangs up', ({ response }) => response.destroy(), 'closed the connection'],
    ['answers too much', ({ response }) => response.end(Buffer.alloc(17 * 1024 * 1024, ' ')), 'with more than 16 MB'],
    ['is a Drover gateway', aGateway, 'is a Drover gateway'],
  ])('a question fails as engine_failed where the address %s', async (_what, post, why) => {
    const { engine } = await open(post)
    const message = expect.stringContaining(why)
    await expect(engine.ask({ path, body }, never)).rejects.toMatchObject({ name: 'BrokerError', code: 'engine_failed', message })
  })

  test('a question has no end but its signal, with its reason', async () => {
    let stopped = 0
    const { engine } = await open(({ response }) => void response.on('close', () => stopped++))
    const leaving = new AbortController()
    setTimeout(() => leaving.abort(new Error('left')), 20)
    await expect(engine.ask({ path, body }, leaving.signal)).rejects.toThrow('left')
    await expect.poll(() => stopped).toBe(1)
    await expect(engine.ask({ path, body }, leaving.signal)).rejects.toThrow('left')
  })

  test('closing the engine fails what is under way', async () => {
    const { engine } = await open(({ response }) => void response.writeHead(200).write(answer.slice(0, 20)))
    const begun = Promise.withResolvers<void>()
    const sink = recordingSink(() => begun.resolve())
    engine.post({ path, body }, sink)
    await begun.promise
    await engine.close()
    expect(await sink.over).toBe('fail')
  })
}
