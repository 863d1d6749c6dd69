import { readFile, writeFile } from 'node:fs/promises'
import { DialectId } from '@drover/core'
import { expect } from 'vitest'
import { until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { observe, type Way } from './observe.ts'

const PAGE = new URL('../../docs/compatibility.md', import.meta.url)

const HEAD = `# What becomes of every field

Made by \`DROVER_WRITE_COMPATIBILITY=1 npx vitest run --project integration test/compatibility\`, which sends each field of each route through
a gateway and a worker to an Ollama node and to a llama.cpp node, and looks at what the engine was asked. A test fails when this page says
anything else. Not written by hand.

- **carried**: the engine got it as the client sent it.
- **as \`…\`**: the engine got it under this name, or in this form.
- **not sent**: Drover acts on it itself, or a node is not asked for it (\`keep_alive\` and
  load-time options are the node's affair: every other value would load the model again).
- **as always sent**: the engine gets this with every request.
- **ignored, and named**: dropped, and named in \`x-drover-ignored\`, as every field that a route does not know.
- **refused**: an error with this text.
`

const tagsOf = async (url: string): Promise<string[]> =>
  (JSON.parse((await send(`${url}/api/tags`, { method: 'GET' })).text) as { models: { name: string }[] }).models.map(({ name }) => name)

/** A llama-server is started for one purpose: text, embeddings or ranking. */
const purposeOf = (id: DialectId) => (id === 'llama.rerank' ? 'rerank' : /embed/.test(id) ? 'embedding' : 'completion')

const test = world.extend('waysOf', { scope: 'file' }, async ({ house, engines }) => {
  const gateway = await house.gateway()
  const way = async (kind: 'ollama' | 'llama-server', model: string, capabilities: string[]): Promise<Way> => {
    const engine = await engines({ kind, slots: 4, models: [{ name: model, capabilities }] })
    await house.worker(model, [{ url: engine.url, slots: 4 }], { gateway })
    await until(`${model} can be asked`, async () => (await tagsOf(gateway.url)).includes(`${model}:latest`))
    return { gateway: gateway.url, engine, model }
  }
  const ollama = await way('ollama', 'on-ollama', ['completion', 'embedding'])
  const llama = {
    completion: await way('llama-server', 'on-llama', ['completion', 'insert']),
    embedding: await way('llama-server', 'embeds-on-llama', ['embedding']),
    rerank: await way('llama-server', 'ranks-on-llama', ['rerank']),
  }
  return (id: DialectId): Way[] => [ollama, llama[purposeOf(id)]]
})

test('the page on compatibility says what happens', async ({ waysOf }) => {
  const parts = [HEAD]
  for (const id of DialectId.options) {
    const { path, ends, rows } = await observe(id, waysOf(id))
    const table = rows.map(({ name, fates }) => `| \`${name}\` | ${fates.join(' | ')} |`)
    parts.push([`## ${path}`, '', '| field | Ollama node | llama.cpp node |', '| --- | --- | --- |', `| asked at | ${ends.join(' | ')} |`, ...table, ''].join('\n'))
  }
  const page = parts.join('\n')
  if (process.env['DROVER_WRITE_COMPATIBILITY']) await writeFile(PAGE, page)
  expect(page).toBe(await readFile(PAGE, 'utf8'))
})
