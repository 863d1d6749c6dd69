import { expect, onTestFinished, test } from 'vitest'
import { findEngines } from './discover.ts'
import type { EngineSearch } from './discover.ts'
import { recordedJson } from './recorded.ts'
import { deadUrl, json, standIn } from './stand-in.ts'
import type { Heard, StandIn } from './stand-in.ts'

const never = new AbortController().signal

const serve = async (answer: (heard: Heard) => void): Promise<StandIn> => {
  const server = await standIn(answer)
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server
}

const search = async (asked: Partial<EngineSearch>) => {
  const { engines, problems } = await findEngines({ engines: [], ports: [], ...asked }, never)
  onTestFinished(async () => void (await Promise.all(engines.map((engine) => engine.close()))))
  return { engines, problems }
}

const notFound = (response: Heard['response']): void => json(response, { error: { type: 'not_found_error' } }, 404)

const anOllama = ({ path, response }: Heard): void =>
  path === '/api/version' ? json(response, { version: '0.33.0' }) : notFound(response)

const aLlamaServer = ({ path, response }: Heard): void => {
  if (path === '/health') json(response, { status: 'ok' })
  else if (path === '/props') json(response, recordedJson('llama-server.props.json'))
  else notFound(response)
}

const loading = ({ response }: Heard): void =>
  json(response, { error: { message: 'Loading model', type: 'unavailable_error', code: 503 } }, 503)

const withKey = ({ path, response }: Heard): void =>
  path === '/health' ? json(response, { status: 'ok' }) : json(response, { error: { type: 'authentication_error' } }, 401)

/** A gateway answers as Ollama does, and signs every answer. */
const aGateway = ({ path, response }: Heard): void => {
  response.setHeader('x-drover', 'gateway/0.1.0')
  if (path === '/api/version') json(response, { version: '0.33.0' })
  else response.writeHead(404).end('404 page not found')
}

const aWebSite = ({ response }: Heard): void => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html></html>')

/** Many services answer so; only llama-server has `/props` too. */
const aHealthyService = ({ path, response }: Heard): void =>
  path === '/health' ? json(response, { status: 'ok' }) : notFound(response)

test.each([
  ['an Ollama', 'ollama', anOllama],
  ['a llama-server', 'llama-server', aLlamaServer],
  ['a llama-server that still loads', 'llama-server', loading],
  ['a llama-server that wants a key', 'llama-server', withKey],
])('%s is recognised by what it answers', async (_what, kind, answer) => {
  const { url, port } = await serve(answer)
  const { engines, problems } = await search({ engines: [{ url }] })
  expect(problems).toEqual([])
  expect(engines).toMatchObject([{ kind, url, id: `127.0.0.1:${port}` }])
})

test('Ollama is found on this machine, one per port, and nothing else is taken for one', async () => {
  const servers = await Promise.all([anOllama, anOllama, aLlamaServer, aWebSite, aGateway].map(serve))
  const { engines, problems } = await search({ ports: servers.map(({ port }) => port), found: { slots: 2 } })
  expect(engines.map(({ kind, url }) => [kind, url])).toEqual(servers.slice(0, 2).map(({ url }) => ['ollama', url]))
  expect(problems).toEqual([])
})

test('OLLAMA_HOST is tried, and one engine is not counted under two names', async () => {
  const { port } = await serve(anOllama)
  const { engines } = await search({ ollamaHost: `localhost:${port}`, ports: [port], engines: [] })
  expect(engines.map(({ id }) => id)).toEqual([`127.0.0.1:${port}`])
})

test('what the operator says of an address counts more than what is found there by looking', async () => {
  const { port } = await serve(({ path, response, ...heard }) => {
    if (path === '/api/tags' || path === '/api/ps') json(response, { models: [] })
    else anOllama({ path, response, ...heard })
  })
  const { engines } = await search({ ports: [port], engines: [{ url: `http://localhost:${port}`, slots: 8 }] })
  expect(engines).toHaveLength(1)
  expect(await engines[0]?.look(never)).toMatchObject({ slotsPerModel: 8 })
})

test('a gateway of Drover is never taken for an engine, also where the operator says so', async () => {
  const { url } = await serve(aGateway)
  for (const config of [{ url }, { url, kind: 'ollama' as const }]) {
    const { engines, problems } = await search({ engines: [config] })
    expect(engines).toEqual([])
    expect(problems).toEqual([{ url, reason: expect.stringContaining('is a Drover gateway, not an engine') }])
  }
})

test('an engine that is not up yet is a problem, unless its kind is known', async () => {
  const url = await deadUrl()
  const unknown = await search({ engines: [{ url }] })
  expect(unknown.engines).toEqual([])
  expect(unknown.problems).toEqual([{ url, reason: expect.stringMatching(/^engine 127\.0\.0\.1:\d+ refused the connection$/) }])
  const known = await search({ engines: [{ url, kind: 'llama-server' }] })
  expect(known.engines).toMatchObject([{ kind: 'llama-server', url }])
  expect(known.problems).toEqual([])
})

test('an engine of another kind than was said, and a server that is none, are problems', async () => {
  const [llama, site, other] = await Promise.all([serve(aLlamaServer), serve(aWebSite), serve(aHealthyService)])
  const asked = [{ url: llama.url, kind: 'ollama' as const }, { url: site.url }, { url: other.url }]
  const { engines, problems } = await search({ engines: asked })
  expect(engines).toEqual([])
  expect(problems.map(({ reason }) => reason)).toEqual([
    `engine 127.0.0.1:${llama.port} is llama-server, not ollama`,
    `engine 127.0.0.1:${site.port} answers neither as Ollama nor as llama-server`,
    `engine 127.0.0.1:${other.port} answers neither as Ollama nor as llama-server`,
  ])
})

test('addresses that are known already are not asked again', async () => {
  const server = await serve(anOllama)
  const known = new Set([`127.0.0.1:${server.port}`])
  const { engines } = await search({ ports: [server.port], engines: [{ url: server.url }], known })
  expect(engines).toEqual([])
  expect(server.heard).toEqual([])
})

test('the key of an engine is used to recognise it, and its name and slots are its', async () => {
  const server = await serve((heard) => {
    if (heard.headers.authorization === 'Bearer k' && heard.path === '/v1/models') {
      json(heard.response, recordedJson('llama-server.models.json'))
    } else if (heard.headers.authorization === 'Bearer k') aLlamaServer(heard)
    else withKey(heard)
  })
  const { engines } = await search({ engines: [{ url: server.url, apiKey: 'k', name: 'house:1b', slots: 1 }] })
  expect(await engines[0]?.look(never)).toMatchObject({ held: [{ model: 'house:1b' }], slotsPerModel: 1 })
})

test('an address that accepts and says nothing holds the search up for no more than a moment', async () => {
  const { url } = await serve(() => {})
  const { problems } = await search({ engines: [{ url }] })
  expect(problems).toEqual([{ url, reason: expect.stringContaining('did not answer') }])
})

test('a search ends with the reason of its signal', async () => {
  const { url } = await serve(() => {})
  const leaving = new AbortController()
  setTimeout(() => leaving.abort(new Error('stop')), 20)
  await expect(findEngines({ engines: [{ url }], ports: [] }, leaving.signal)).rejects.toThrow('stop')
})
