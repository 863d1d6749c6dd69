import { createServer } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { readStatus, whyNotReady } from './gateway-client.ts'

/** A server that answers everything in one way; what it was asked. */
const serve = async (status: number, body: string) => {
  const asked: { url: string | undefined; authorization: string | undefined }[] = []
  const server = createServer((request, response) => {
    asked.push({ url: request.url, authorization: request.headers.authorization })
    response.writeHead(status).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return { asked, url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}` }
}

test('the status is read with the key, and given as it came too', async () => {
  const { url, asked } = await serve(200, '{"nodes":[],"more":1}')
  expect(await readStatus({ url, apiKey: 'k' })).toEqual({ text: '{"nodes":[],"more":1}', status: { nodes: [] } })
  expect(asked).toEqual([{ url: '/api/status', authorization: 'Bearer k' }])
})

test.each([
  [401, '', /wants a key.*DROVER_API_KEY/],
  [500, '', /answers 500/],
  [200, 'Ollama is running', /no Drover gateway/],
  [200, '{"nodes":[{}]}', /no Drover gateway/],
])('an answer of %i %j is one clear reason', async (status, body, reason) => {
  const { url } = await serve(status, body)
  await expect(readStatus({ url, apiKey: undefined })).rejects.toThrow(reason)
})

test('where nothing listens the reason names the next step', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
  await new Promise((resolve) => server.close(resolve))
  await expect(readStatus({ url, apiKey: undefined })).rejects.toThrow(/no gateway answers at .*ECONNREFUSED.*drover up/)
  expect(await whyNotReady(url)).toContain('ECONNREFUSED')
})

test('ready is 200 and nothing else', async () => {
  const ready = await serve(200, 'ok')
  expect(await whyNotReady(ready.url)).toBeUndefined()
  expect(ready.asked[0]?.url).toBe('/readyz')
  expect(await whyNotReady((await serve(503, 'Redis is away')).url)).toBe('503 Redis is away')
})
