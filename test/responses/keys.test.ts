import OpenAI from 'openai'
import { expect } from 'vitest'
import { makeKey, OPERATOR_KEY } from '../keys/making.ts'
import { all, test as world } from '../support/world.ts'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ kind: 'llama-server', models: ['small'], slots: 4 })
  const { url } = await house.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  await house.worker('n1', [{ url: engine.url, slots: 4, kind: 'llama-server' }])
  const client = (apiKey: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 }).responses
  const [owner, other] = await Promise.all(['owner', 'other'].map(async (name) => client((await makeKey(url, { name, scopes: ['infer'] })).key)))
  await expect.poll(() => owner!.create({ model: 'small', input: 'job=up tokens=1' }).then(({ status }) => status, () => 'not yet'), { timeout: 30_000 }).toBe('completed')
  return { engine, owner: owner!, other: other!, operator: client(OPERATOR_KEY) }
})

test('another key’s response is not there, whatever is asked of it, and asking changes nothing', async ({ site }) => {
  const { owner, other, operator, engine } = site
  const running = await owner.create({ model: 'small', input: 'job=ke1 tokens=9 stall_at=4', background: true, stream: true })
  let id = ''
  for await (const event of running) {
    if (event.type === 'response.created') ({ id } = event.response)
    if (event.type === 'response.output_text.delta') break
  }
  const stored = await owner.create({ model: 'small', input: 'job=ke2 tokens=3', store: true })
  for (const foreign of [id, stored.id]) {
    const asked = [
      () => other.retrieve(foreign), () => other.retrieve(foreign, { stream: true, starting_after: 0 }), () => other.cancel(foreign), () => other.delete(foreign), () => other.inputItems.list(foreign),
    ]
    for (const ask of asked) await expect(ask()).rejects.toMatchObject({ status: 404, message: `404 Response with id '${foreign}' not found.` })
    await expect(other.create({ model: 'small', input: 'hello', previous_response_id: foreign })).rejects.toMatchObject({ status: 404, code: 'previous_response_not_found' })
    const id = `msg_${foreign.slice(5)}_0`
    await expect(other.create({ model: 'small', input: [{ type: 'item_reference', id }] })).rejects.toMatchObject({ status: 404, param: 'input' })
  }
  expect((await owner.retrieve(id)).status).toBe('in_progress')
  await engine.admin.release('ke1')
  const events = await all(await owner.retrieve(id, { stream: true }))
  expect(events.at(-1)?.type).toBe('response.completed')
  // Who administers the installation may see all of it.
  expect((await operator.retrieve(id)).status).toBe('completed')
  expect(await operator.retrieve(stored.id)).toEqual(stored)
  await operator.delete(stored.id)
  await expect(owner.retrieve(stored.id)).rejects.toMatchObject({ status: 404 })
})
