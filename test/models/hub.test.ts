import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import { done } from '../cli/commands-setup.ts'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { llamaServerPath, skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { until } from '../support/drover.ts'
import { post } from '../support/raw.ts'
import { test } from '../support/world.ts'
import { held, temporary } from './copy-site.ts'
import { pullLines } from './lines.ts'

/** A hub with one repository, whose files lie on another host. */
const startHub = async (content: Buffer, path: string) => {
  const seen: { url: string; authorization: string | undefined; range: string | undefined }[] = []
  const servers = [0, 1].map(() => createServer())
  for (const server of servers) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close().closeAllConnections())
  }
  const [endpoint = '', elsewhere = ''] = servers.map((server) => `http://127.0.0.1:${(server.address() as { port: number }).port}`)
  servers[0]?.on('request', ({ url = '', headers }, response) => {
    seen.push({ url, authorization: headers.authorization, range: headers.range })
    if (url === '/api/models/Org/Tiny/tree/main?recursive=true') response.end(JSON.stringify([{ type: 'file', path, size: content.length, lfs: { oid: createHash('sha256').update(content).digest('hex'), size: content.length } }]))
    else if (url === `/Org/Tiny/resolve/main/${path}`) response.writeHead(302, { location: `${elsewhere}/blob` }).end()
    else response.writeHead(404).end('Entry not found')
  })
  let breaks = true
  servers[1]?.on('request', ({ url = '', headers }, response) => {
    seen.push({ url, authorization: headers.authorization, range: headers.range })
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0)
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': content.length - from, ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }) })
    // The first time it breaks off in the middle.
    if (breaks) response.write(content.subarray(from, from + Math.floor(content.length / 2)), () => response.destroy())
    else response.end(content.subarray(from))
    breaks = false
  })
  return { endpoint, seen }
}

test.skipIf(skipsWithoutLlamaServer())('a model of the hub comes into a models folder, goes on where it broke off, and answers', async ({ drover }) => {
  const gateway = await drover.gateway({ DROVER_GRACE: '120s', DROVER_KEEP_ALIVE: '120s' })
  const source = join(await temporary(), 'source.gguf')
  await writeTinyModel({ path: source })
  const content = await readFile(source)
  const { endpoint, seen } = await startHub(content, 'Tiny-Q8_0.gguf')
  const folder = await temporary()
  await drover.worker('l', [], { env: { DROVER_MODELS_DIR: folder, DROVER_LLAMA_SERVER: llamaServerPath() ?? '', DROVER_NUM_CTX: '256', HF_ENDPOINT: endpoint, HF_TOKEN: 'hf_secret', OLLAMA_MODELS: join(folder, 'none') } })
  await until('it is known', async () => (await done(['nodes', '--json'], { env: { DROVER_URL: gateway.url } })).output.includes('"l"'))
  const none = pullLines(gateway.url, { model: 'hf.co/Org/Tiny:Q2_K' })
  await none.over
  expect(none.lines).toEqual([{ status: 'pulling manifest' }, { error: 'pull model manifest: file does not exist' }])
  const pulled = await done(['pull', 'hf:Org/Tiny:Q8_0'], { env: { DROVER_URL: gateway.url } })
  expect([pulled.code, pulled.errors, pulled.output.trimEnd().split('\n').at(-1)]).toEqual([0, '', 'success'])
  expect((await readdir(folder)).filter((name) => name.endsWith('.gguf'))).toEqual(['hf.co%2Forg%2Ftiny%3Aq8_0.gguf'])
  expect(await readFile(join(folder, 'hf.co%2Forg%2Ftiny%3Aq8_0.gguf'))).toEqual(content)
  await held(gateway, 'hf.co/org/tiny:q8_0', 'l')
  const blobs = seen.filter(({ url }) => url === '/blob')
  expect(blobs).toHaveLength(2)
  expect(Number(blobs[1]?.range?.slice('bytes='.length, -1))).toBeGreaterThan(0)
  // The token is for the hub alone.
  expect([seen.find(({ url }) => url !== '/blob')?.authorization, ...blobs.map(({ authorization }) => authorization)]).toEqual(['Bearer hf_secret', undefined, undefined])
  const answer = await post(gateway.url, 'ollama.chat', { model: 'hf.co/Org/Tiny:Q8_0', stream: false, messages: [{ role: 'user', content: 'Hello.' }], options: { num_predict: 8 } })
  expect([answer.status, answer.headers['x-drover-node']]).toEqual([200, 'l'])
  // Brought up to date, there is nothing to send.
  const again = pullLines(gateway.url, { model: 'hf.co/Org/Tiny:Q8_0' }, { 'x-drover-nodes': 'l' })
  await again.over
  expect(again.lines.at(-1)).toEqual({ status: 'success' })
  expect(seen.filter(({ url }) => url === '/blob')).toHaveLength(2)
})
