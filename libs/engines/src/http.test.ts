import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { BrokerError } from '@drover/core'
import { expect, onTestFinished, test } from 'vitest'
import { engineHttp } from './http.ts'
import type { EngineHttp } from './http.ts'
import { recordingSink } from './recording-sink.ts'
import { deadUrl, json, standIn } from './stand-in.ts'
import type { Heard, StandIn } from './stand-in.ts'

const call = { path: '/v1/chat/completions', body: '{"messages":"a secret prompt"}' }
const never = new AbortController().signal

const engineAt = (url: string, apiKey?: string): EngineHttp => {
  const http = engineHttp({ id: 'box', url, apiKey })
  onTestFinished(() => http.close())
  return http
}

const serve = async (answer: (heard: Heard) => void): Promise<{ server: StandIn; http: EngineHttp }> => {
  const server = await standIn(answer)
  onTestFinished(() => server[Symbol.asyncDispose]())
  return { server, http: engineAt(server.url) }
}

/** A server below HTTP: what `reply` does once a request has begun to arrive. */
const serveRaw = async (reply: (socket: Socket) => void): Promise<EngineHttp> => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => reply(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return engineAt(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}

const asBrokerError = (error: unknown): BrokerError => {
  expect(error).toBeInstanceOf(BrokerError)
  return error as BrokerError
}

test('an answer comes as head, text and end, and the connection is used again', async () => {
  const { server, http } = await serve(({ response }) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: 1\n\n')
    setImmediate(() => response.end('data: 2\n\n'))
  })
  let connections = 0
  server.server.on('connection', () => connections++)
  for (let round = 0; round < 3; round++) {
    const sink = recordingSink()
    http.post(call, sink)
    expect(sink.calls).toEqual([])
    expect(await sink.over).toBe('end')
    expect(sink).toMatchObject({ status: 200, contentType: 'text/event-stream', received: 'data: 1\n\ndata: 2\n\n' })
    expect(sink.calls[0]).toBe('head')
    await new Promise(setImmediate)
  }
  expect(connections).toBe(1)
})

test('only our own headers reach an engine', async () => {
  const { server, http } = await serve(({ response }) => json(response, {}))
  const sink = recordingSink()
  http.post(call, sink)
  await sink.over
  const [heard] = server.heard
  expect(heard).toMatchObject({ method: 'POST', path: call.path, body: call.body })
  expect(Object.keys(heard?.headers ?? {}).toSorted()).toEqual(['accept', 'connection', 'content-length', 'content-type', 'host'])
  expect(heard?.headers['content-type']).toBe('application/json')
})

test('a call may be another than a POST, with a body all the same', async () => {
  const { server, http } = await serve(({ response }) => json(response, {}))
  const sink = recordingSink()
  http.post({ ...call, method: 'DELETE' }, sink)
  await sink.over
  expect(server.heard[0]).toMatchObject({ method: 'DELETE', path: call.path, body: call.body })
})

test('a key of the engine goes along as a bearer token, also when looking', async () => {
  const { server } = await serve(({ response }) => json(response, { fine: true }))
  const http = engineAt(`${server.url}/behind/a/proxy/`, 'engine-key')
  const sink = recordingSink()
  http.post(call, sink)
  await sink.over
  expect(await http.get('/props', never)).toEqual({ status: 200, json: { fine: true } })
  expect(server.heard.map(({ headers }) => headers.authorization)).toEqual(['Bearer engine-key', 'Bearer engine-key'])
  expect(server.heard.map(({ path }) => path)).toEqual(['/behind/a/proxy/v1/chat/completions', '/behind/a/proxy/props'])
})

test('characters cut by the network arrive whole', async () => {
  const bytes = Buffer.from('größer 😀 — 日本')
  const { http } = await serve(({ response }) => {
    response.writeHead(200)
    const next = (at: number): void => {
      if (at === bytes.length) return void response.end()
      response.write(bytes.subarray(at, at + 1), () => setImmediate(next, at + 1))
    }
    next(0)
  })
  const seen: string[] = []
  const sink = recordingSink(({ received }) => seen.push(received))
  http.post(call, sink)
  expect(await sink.over).toBe('end')
  expect(sink.received).toBe(bytes.toString())
  expect(seen.every((text) => bytes.toString().startsWith(text))).toBe(true)
})

test('text that is not UTF-8 fails as engine_protocol and the connection is closed', async () => {
  let closed = false
  const { http } = await serve(({ response }) => {
    response.on('close', () => (closed = true))
    response.writeHead(200)
    response.write(Buffer.from([0x61, 0xff, 0x62]))
  })
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('fail')
  expect(asBrokerError(sink.error).code).toBe('engine_protocol')
  expect(sink.received).toBe('')
  await expect.poll(() => closed).toBe(true)
})

test('an answer that ends inside a character is not an end', async () => {
  const { http } = await serve(({ response }) => response.writeHead(200).end(Buffer.from('€').subarray(0, 2)))
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('fail')
  expect(asBrokerError(sink.error).code).toBe('engine_protocol')
  expect(sink.calls).toEqual(['head', 'fail'])
})

test('a refusal comes through the same sink, with its status and text', async () => {
  const { http } = await serve(({ response }) => json(response, { error: 'model "x" not found' }, 404))
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('end')
  expect(sink).toMatchObject({ status: 404, received: '{"error":"model \\"x\\" not found"}' })
})

test('a redirect is an answer, not a way', async () => {
  const { server: other } = await serve(({ response }) => json(response, {}))
  const { http } = await serve(({ response }) => response.writeHead(307, { location: `${other.url}/v1/chat/completions` }).end())
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('end')
  expect(sink.status).toBe(307)
  expect(other.heard).toEqual([])
})

const FLOOD = 32 * 1024 * 1024

/** An engine that sends `FLOOD` bytes as fast as they are taken, and how many it has sent so far. */
const serveFlood = async (): Promise<{ http: EngineHttp; sent: () => number }> => {
  const line = `${'x'.repeat(16 * 1024 - 1)}\n`
  let sent = 0
  const { http } = await serve(({ response }) => {
    response.writeHead(200)
    const more = (): void => {
      while (sent < FLOOD) {
        sent += line.length
        if (!response.write(line)) return void response.once('drain', more)
      }
      response.end()
    }
    more()
  })
  return { http, sent: () => sent }
}

/** Waits until the flood has begun and has come to rest. */
const stoppedFlood = async (sent: () => number): Promise<void> => {
  let before = 0
  const atRest = (): boolean => {
    const now = sent()
    const same = now > 0 && now === before
    before = now
    return same
  }
  await expect.poll(atRest, { interval: 100, timeout: 5_000 }).toBe(true)
  expect(sent()).toBeLessThan(FLOOD)
}

test('a paused call stops the sender, gives nothing, and misses nothing', async () => {
  const { http, sent } = await serveFlood()
  const sink = recordingSink()
  const paused = Promise.withResolvers<void>()
  const post = http.post(call, {
    ...sink,
    text(chunk) {
      sink.text(chunk)
      if (sink.received.length === chunk.length) {
        post.pause()
        paused.resolve()
      }
    },
  })
  await paused.promise
  const got = sink.received.length
  await stoppedFlood(sent)
  expect(sink.received.length).toBe(got)
  post.resume()
  expect(await sink.over).toBe('end')
  expect(sink.received.length).toBe(FLOOD)
})

test.each([
  ['with its length', 'content-length: 12\r\n\r\nfirst', ' second'],
  ['in chunks', 'transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n', '7\r\n second\r\n0\r\n\r\n'],
  ['up to the end of its connection', '\r\nfirst', ' second'],
])('a call paused from outside gives nothing more of a body sent %s, not even its end', async (_how, begin, rest) => {
  const go = Promise.withResolvers<void>()
  const http = await serveRaw((socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nconnection: close\r\n${begin}`)
    void go.promise.then(() => socket.end(rest))
  })
  const first = Promise.withResolvers<void>()
  const sink = recordingSink(() => first.resolve())
  const post = http.post(call, sink)
  await first.promise
  post.pause()
  go.resolve()
  await new Promise((later) => setTimeout(later, 100))
  expect(sink.calls).toEqual(['head', 'text'])
  post.resume()
  expect(await sink.over).toBe('end')
  expect(sink.received).toBe('first second')
})

test('a call may be paused before its connection is there', async () => {
  const { http, sent } = await serveFlood()
  const sink = recordingSink()
  const post = http.post(call, sink)
  post.pause()
  await stoppedFlood(sent)
  expect(sink.calls).toEqual(['head'])
  post.resume()
  expect(await sink.over).toBe('end')
  expect(sink.received.length).toBe(FLOOD)
})

test('one call may be woken from inside the text of another', async () => {
  const { http } = await serve(({ body, response }) => {
    response.writeHead(200)
    response.write('a')
    setTimeout(() => response.end('b'), body === 'late' ? 60 : 0)
  })
  const sleeper = recordingSink(({ received }) => received === 'a' && asleep.pause())
  const asleep = http.post({ ...call, body: 'early' }, sleeper)
  await expect.poll(() => sleeper.received).toBe('a')
  const waker = recordingSink(({ received }) => received === 'ab' && asleep.resume())
  http.post({ ...call, body: 'late' }, waker)
  expect(await waker.over).toBe('end')
  expect(await sleeper.over).toBe('end')
  expect(sleeper.received).toBe('ab')
})

test('abort closes the connection, says its reason once, and nothing follows', async () => {
  let closed = 0
  const { http } = await serve(({ response }) => {
    response.on('close', () => closed++)
    response.writeHead(200)
    const tick = setInterval(() => response.write('tick'), 1)
    response.on('close', () => clearInterval(tick))
  })
  const first = Promise.withResolvers<void>()
  const sink = recordingSink(() => first.resolve())
  const post = http.post(call, sink)
  await first.promise
  const reason = { kind: 'cancelled' }
  post.abort(reason)
  expect(sink.error).toBe(reason)
  const calls = [...sink.calls]
  post.abort('again')
  post.resume()
  await expect.poll(() => closed).toBe(1)
  await new Promise((later) => setTimeout(later, 20))
  expect(sink.calls).toEqual(calls)
  expect(sink.error).toBe(reason)
})

test.each([
  ['from inside its text', 'keep-alive', true, false],
  ['from inside its last text on a connection that closes', 'close', true, false],
  ['while it is paused', 'keep-alive', false, true],
  ['while it is paused on a connection that closes', 'close', false, true],
])('a call may be aborted %s', async (_where, connection, inside, pausing) => {
  const { server, http } = await serve(({ response }) => {
    response.writeHead(200, { connection })
    response.end('all of it')
  })
  const reason = new Error('enough')
  const sink = recordingSink(() => (inside ? post.abort(reason) : pausing && post.pause()))
  const post = http.post(call, sink)
  await expect.poll(() => sink.received).toBe('all of it')
  if (!inside) post.abort(reason)
  expect(await sink.over).toBe('fail')
  await new Promise((later) => setTimeout(later, 20))
  expect(sink.calls).toEqual(['head', 'text', 'fail'])
  expect(sink.error).toBe(reason)
  const next = recordingSink()
  http.post(call, next)
  expect(await next.over).toBe('end')
  expect(server.heard.length).toBe(2)
})

test('a call aborted before its connection is there never reaches the engine', async () => {
  const { server, http } = await serve(({ response }) => json(response, {}))
  const sink = recordingSink()
  http.post(call, sink).abort('left')
  expect(sink.calls).toEqual(['fail'])
  const next = recordingSink()
  http.post({ ...call, body: '{"next":true}' }, next)
  await next.over
  expect(server.heard.map(({ body }) => body)).toEqual(['{"next":true}'])
})

test('what a sink throws ends the call with it', async () => {
  const { http } = await serve(({ response }) => response.writeHead(200).end('text'))
  const broken = new Error('sink')
  for (const method of ['head', 'text', 'end'] as const) {
    const sink = recordingSink()
    const fails = (): never => {
      throw broken
    }
    http.post(call, { ...sink, [method]: fails })
    expect(await sink.over).toBe('fail')
    expect(sink.error).toBe(broken)
  }
})

test('a refused connection is an engine_failed that names the engine and keeps its cause', async () => {
  const http = engineAt(await deadUrl())
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('fail')
  const error = asBrokerError(sink.error)
  expect(error).toMatchObject({ code: 'engine_failed', message: 'engine box refused the connection' })
  expect(error.cause).toMatchObject({ code: 'ECONNREFUSED' })
})

test.each([
  ['reset', 'Content-Length: 100', true],
  ['closed', 'Transfer-Encoding: chunked', false],
])('a connection %s in mid-answer fails after the text that came', async (_how, header, reset) => {
  const { server, http } = await serve(({ response }) => {
    const { socket } = response
    socket?.write(`HTTP/1.1 200 OK\r\n${header}\r\n\r\n${reset ? 'partly' : '6\r\npartly\r\n'}`, () =>
      setTimeout(() => (reset ? socket.resetAndDestroy() : socket.destroy()), 20),
    )
  })
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('fail')
  expect(server.heard.length).toBe(1)
  expect(sink.received).toBe('partly')
  expect(asBrokerError(sink.error)).toMatchObject({ code: 'engine_failed', message: 'engine box closed the connection' })
})

test('an answer that is not HTTP is an engine_protocol that carries nothing of it', async () => {
  const http = await serveRaw((socket) => void socket.write('a secret answer that is not HTTP\r\n\r\n'))
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('fail')
  const error = asBrokerError(sink.error)
  expect(error.code).toBe('engine_protocol')
  expect(JSON.stringify([error, error.message, error.cause, { ...(error.cause as object) }])).not.toContain('secret')
})

test('interim answers are not the head', async () => {
  const http = await serveRaw((socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n')
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  })
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('end')
  expect(sink.calls).toEqual(['head', 'text', 'end'])
  expect(sink.status).toBe(200)
})

test('an answer of a Drover gateway is refused', async () => {
  const { http } = await serve(({ response }) => json(response, {}, 200, { 'x-drover': 'gateway/0.1.0' }))
  const sink = recordingSink()
  http.post(call, sink)
  expect(await sink.over).toBe('fail')
  expect(asBrokerError(sink.error).message).toContain('is a Drover gateway')
  expect(sink.calls).toEqual(['fail'])
  await expect(http.get('/api/version', never)).rejects.toThrow('is a Drover gateway')
})

test('closing fails the calls under way and later ones', async () => {
  const { http } = await serve(({ response }) => void response.writeHead(200).write('begun'))
  const begun = Promise.withResolvers<void>()
  const under = recordingSink(() => begun.resolve())
  http.post(call, under)
  await begun.promise
  await http.close()
  expect(await under.over).toBe('fail')
  const later = recordingSink()
  http.post(call, later)
  expect(later.calls).toEqual([])
  expect(await later.over).toBe('fail')
  expect(asBrokerError(later.error)).toMatchObject({ code: 'engine_failed', message: 'engine box was closed by this worker' })
})

test('a read that takes too long or grows too large is given up', async () => {
  const { http } = await serve(({ path, response }) => {
    response.writeHead(200)
    if (path === '/large') for (let part = 0; part < 17; part++) response.write(Buffer.alloc(1024 * 1024, 0x20))
  })
  const late = { code: 'engine_failed', message: 'engine box did not answer GET /silent in 50 ms' }
  await expect(http.get('/silent', never, 50)).rejects.toMatchObject(late)
  const large = { code: 'engine_failed', message: 'engine box answered GET /large with more than 16 MB' }
  await expect(http.get('/large', never)).rejects.toMatchObject(large)
})

test('a read ends with the reason of its signal', async () => {
  const { http } = await serve(() => {})
  const left = new AbortController()
  const reading = http.get('/api/tags', left.signal)
  const reason = new Error('drain')
  setTimeout(() => left.abort(reason), 20)
  await expect(reading).rejects.toBe(reason)
  await expect(http.get('/api/tags', left.signal)).rejects.toBe(reason)
})
