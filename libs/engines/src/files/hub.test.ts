import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { chosen, hubFiles } from './hub.ts'

const file = (path: string) => ({ type: 'file', path, size: 10, lfs: { oid: 'a'.repeat(64), size: 10 } })
const TREE = [
  file('README.md'), { type: 'directory', path: 'BF16', size: 0 }, file('Tiny-3B-Q4_K_M.gguf'), file('Tiny-3B-Q8_0.gguf'), file('mmproj-Tiny-Q8_0.gguf'), { type: 'file', path: 'small-Q2_K.gguf', size: 1 },
  file('BF16/Tiny-3B-BF16-00002-of-00002.gguf'), file('BF16/Tiny-3B-BF16-00001-of-00002.gguf'), file('Tiny-3B.IQ4_XS.gguf'), file('Tiny-3B-UD-Q5_K_XL.gguf'),
]

test.each([
  ['q8_0', ['Tiny-3B-Q8_0.gguf']], ['Q4_K_M', ['Tiny-3B-Q4_K_M.gguf']], ['iq4_xs', ['Tiny-3B.IQ4_XS.gguf']], ['ud-q5_k_xl', ['Tiny-3B-UD-Q5_K_XL.gguf']], ['q5_k_xl', ['Tiny-3B-UD-Q5_K_XL.gguf']], ['latest', ['Tiny-3B-Q4_K_M.gguf']],
  ['bf16', ['BF16/Tiny-3B-BF16-00001-of-00002.gguf', 'BF16/Tiny-3B-BF16-00002-of-00002.gguf']], ['q4', []], ['q2_k', []], ['3b', ['BF16/Tiny-3B-BF16-00001-of-00002.gguf', 'BF16/Tiny-3B-BF16-00002-of-00002.gguf']],
])('of %s it is %j', (tag, paths) => {
  expect(chosen(TREE, tag).map(({ path }) => path)).toEqual(paths)
  expect(chosen(TREE.toReversed(), tag).map(({ path }) => path)).toEqual(paths)
})

test('without the usual quantization it is the first', () => {
  expect(chosen([file('b-Q8_0.gguf'), file('a-Q6_K.gguf')], 'latest').map(({ path }) => path)).toEqual(['a-Q6_K.gguf'])
  expect(chosen([file('README.md')], 'latest')).toEqual([])
})

const hub = async (answer: RequestListener) => {
  const server = createServer(answer).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close().closeAllConnections())
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`
}

test('the hub is asked for the repository as it was written, with the token', async () => {
  const asked: unknown[] = []
  const endpoint = await hub((request, response) => {
    asked.push([request.url, request.headers.authorization])
    response.end(JSON.stringify([file('sub folder/Tiny-Q4_K_M.gguf')]))
  })
  expect(await hubFiles('hf.co/Some-Org/Tiny.GGUF:Q4_K_M', { endpoint: `${endpoint}/`, token: 't', signal: new AbortController().signal })).toEqual([
    { url: `${endpoint}/Some-Org/Tiny.GGUF/resolve/main/sub%20folder/Tiny-Q4_K_M.gguf`, part: '', size: 10, digest: 'a'.repeat(64) },
  ])
  expect(asked).toEqual([['/api/models/Some-Org/Tiny.GGUF/tree/main?recursive=true', 'Bearer t']])
})

test.each([[404, 'x'], [401, 'x'], [200, '[]']])('where there is none (%i, %s) it says so', async (status, body) => {
  const endpoint = await hub((_request, response) => response.writeHead(status).end(body))
  expect(await hubFiles('hf.co/a/b:c', { endpoint, token: undefined, signal: new AbortController().signal })).toBeUndefined()
})

test.each([[500, '', /answered with status 500/], [200, '{}', /in a form that this worker cannot read/], [200, 'x', /in a form/]])('what is wrong with the hub (%i, %s) is told', async (status, body, message) => {
  const endpoint = await hub((_request, response) => response.writeHead(status).end(body))
  await expect(hubFiles('hf.co/a/b:c', { endpoint, token: undefined, signal: new AbortController().signal })).rejects.toThrow(message)
})
