import { expect } from 'vitest'
import { send } from '../support/raw.ts'
import { all, test } from '../support/world.ts'
import { modelSite } from './site.ts'

const LIBRARY = [{ name: 'llama3.2:3b', size: 3_000_000, layers: 3, rate: 6_000_000 }, { name: 'broken', fails: 'max retries exceeded' }]

test('the ollama client pulls, shows, copies, makes, pushes and deletes over two nodes', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1', 'n2'], library: LIBRARY })
  const { client } = site
  const lines = await all(await client.pull({ model: 'llama3.2:3b', stream: true }))
  expect(lines[0]).toEqual({ status: 'pulling manifest' })
  expect(lines.slice(-3)).toEqual([{ status: 'verifying sha256 digest' }, { status: 'writing manifest' }, { status: 'success' }])
  const layers = lines.filter(({ digest }) => digest !== undefined)
  expect(new Set(layers.map(({ digest }) => digest)).size).toBe(3)
  for (const { status, digest, total } of layers) expect([status, total]).toEqual([`pulling ${digest.slice(7, 19)}`, 1_000_000])
  expect(layers.filter(({ completed, total }) => completed === total)).toHaveLength(3)
  // What was pulled is there for whoever asks next.
  expect((await client.list()).models.map(({ name }) => name)).toContain('llama3.2:3b')
  expect((await client.show({ model: 'llama3.2:3b' })).details.family).toBe('llama')
  expect(await site.holders('llama3.2:3b')).toHaveLength(1)

  expect(await client.copy({ source: 'llama3.2:3b', destination: 'mine' })).toEqual({ status: 'success' })
  expect(await site.holders('mine:latest')).toEqual(await site.holders('llama3.2:3b'))
  expect((await client.list()).models.map(({ name }) => name)).toContain('mine:latest')

  const made = await all(await client.create({ model: 'me/made', from: 'mine', system: 'Be brief.', stream: true }))
  expect(made.at(-1)).toEqual({ status: 'success' })
  expect(made.some(({ status }) => status.startsWith('using existing layer sha256:'))).toBe(true)
  expect(await site.holders('me/made:latest')).toEqual(await site.holders('mine:latest'))

  const pushed = await all(await client.push({ model: 'me/made', stream: true }))
  const part = { status: expect.stringMatching(/^pushing [0-9a-f]{12}$/) as string, total: 3_000_000, digest: expect.stringMatching(/^sha256:/) as string }
  expect(pushed).toEqual([{ status: 'retrieving manifest' }, part, { ...part, completed: 3_000_000 }, { status: 'pushing manifest' }, { status: 'success' }])
  expect(await client.push({ model: 'me/made', stream: false })).toEqual({ status: 'success' })

  const answer = await client.chat({ model: 'mine', messages: [{ role: 'user', content: 'job=after tokens=3' }] })
  expect(answer.done).toBe(true)
  expect(await client.delete({ model: 'mine' })).toEqual({ status: 'success' })
  expect(await site.holders('mine:latest')).toEqual([])
  expect((await client.list()).models.map(({ name }) => name)).not.toContain('mine:latest')
  await expect(client.delete({ model: 'mine' })).rejects.toThrow("model 'mine' not found")
  expect((await client.ps()).models.map(({ name }) => name)).not.toContain('mine:latest')
})

test('a model that no registry has is told in the stream, as Ollama tells it', async ({ drover, scripted }) => {
  const { url, client } = await modelSite({ drover, scripted }, { nodes: ['n1'], library: LIBRARY })
  const pull = (body: object) => send(`${url}/api/pull`, { body: JSON.stringify(body) })
  const streamed = await pull({ model: 'nobody' })
  expect([streamed.status, streamed.headers['content-type'], streamed.text]).toEqual([200, 'application/x-ndjson', '{"status":"pulling manifest"}\n{"error":"pull model manifest: file does not exist"}\n'])
  const whole = await pull({ model: 'nobody', stream: false })
  expect([whole.status, JSON.parse(whole.text)]).toEqual([500, { error: 'pull model manifest: file does not exist' }])
  expect(JSON.parse((await pull({ model: 'llama3.2:3b', stream: false })).text)).toEqual({ status: 'success' })
  await expect(async () => all(await client.pull({ model: 'broken', stream: true }))).rejects.toThrow('max retries exceeded')
  // Asked for once more it is pulled once more: what failed is not told again.
  expect((await pull({ model: 'nobody', stream: false })).status).toBe(500)
})

test('a model that is there already is no work, unless a node is named', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1', 'n2'], library: LIBRARY })
  const pull = async (body: object, headers = {}) => (await send(`${site.url}/api/pull`, { body: JSON.stringify({ model: 'llama3.2:3b', stream: false, ...body }), headers })).text
  expect(JSON.parse(await pull({}, { 'x-drover-nodes': 'n2' }))).toEqual({ status: 'success' })
  expect(await site.holders('llama3.2:3b')).toEqual(['n2'])
  expect(JSON.parse(await pull({}))).toEqual({ status: 'success' })
  expect(await site.sum('llama3.2:3b', 'pulls')).toBe(1)
  expect(JSON.parse(await pull({}, { 'x-drover-nodes': 'n2' }))).toEqual({ status: 'success' })
  expect(await site.sum('llama3.2:3b', 'pulls')).toBe(2)
  expect(JSON.parse(await pull({ replicas: 2 }))).toEqual({ status: 'success' })
  expect(await site.holders('llama3.2:3b')).toEqual(['n1', 'n2'])
  expect(JSON.parse(await pull({ replicas: 3 }))).toEqual({ error: expect.stringContaining('3 nodes are to hold it') as string })
  for (const name of ['n3', 'n1,n3', ',']) expect(JSON.parse(await pull({}, { 'x-drover-nodes': name }))).toEqual({ error: expect.stringMatching(/node 'n3' is not there|x-drover-nodes/) as string })
})

test('what not all nodes could do is told with their names', async ({ drover, scripted }) => {
  const site = await modelSite({ drover, scripted }, { nodes: ['n1', 'n2'], library: LIBRARY })
  await site.nodes.get('n2')!.engine.admin.library([{ name: 'llama3.2:3b', fails: 'no space left on device' }])
  const { text } = await send(`${site.url}/api/pull`, { body: JSON.stringify({ model: 'llama3.2:3b', replicas: 2 }) })
  expect(JSON.parse(text.trimEnd().split('\n').at(-1)!)).toEqual({ error: 'pulled on n1, but not on all nodes: node n2: no space left on device' })
  expect(await site.holders('llama3.2:3b')).toEqual(['n1'])
  // One holder is asked to delete it, and another that does not hold it.
  const removed = await send(`${site.url}/api/delete`, { method: 'DELETE', body: JSON.stringify({ model: 'llama3.2:3b' }), headers: { 'x-drover-nodes': 'n1, n2' } })
  expect([removed.status, JSON.parse(removed.text)]).toEqual([500, { error: 'deleted on n1, but not on all nodes: node n2: does not hold it' }])
  expect(await site.holders('llama3.2:3b')).toEqual([])
})
