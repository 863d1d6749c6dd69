import { expect } from 'vitest'
import { done } from '../cli/commands-setup.ts'
import { test } from '../support/world.ts'
import { get, OPERATOR_KEY } from './making.ts'

test('keys are made, listed, changed, rotated and revoked by commands', async ({ drover }) => {
  const { url } = await drover.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  const env = { DROVER_URL: url, DROVER_API_KEY: OPERATOR_KEY }
  const made = await done(['keys', 'create', 'shop', '--scope', 'infer', '--model', 'qwen3:*', '--requests-per-minute', '60', '--expires-in', '90d'], { env })
  expect([made.code, made.output]).toEqual([0, expect.stringMatching(/^drover_k[0-9a-f]{16}_[\w-]{43}\n$/) as string])
  expect(made.errors).toMatch(/^key k[0-9a-f]{16} \(shop\), shown this once/)
  const key = made.output.trim()
  const id = key.split('_')[1]!
  expect((await get(url, '/api/tags', key)).status).toBe(200)
  const listed = await done(['keys', 'list'], { env })
  expect(listed.output).toMatch(new RegExp(`^ID +NAME +SCOPES +MODELS +LIMITS +EXPIRES\n${id} +shop +infer +qwen3:\\* +60 req/min +2\\d{3}-.*Z\n$`))
  const changed = await done(['keys', 'set', id, '--name', 'kiosk', '--model', '*', '--requests-per-minute', 'none', '--queued', '3', '--expires-in', 'none'], { env })
  expect([changed.code, changed.output]).toEqual([0, expect.stringMatching(new RegExp(`^ID +NAME +SCOPES +MODELS +LIMITS +EXPIRES\n${id} +kiosk +infer +\\* +3 waiting +never\n$`)) as string])
  expect(JSON.parse((await done(['keys', 'set', id, '--batch-share', '0.5', '--json'], { env })).output)).toMatchObject({ id, name: 'kiosk', batch_share: 0.5, limits: { queued: 3 } })
  // A key that may not manage keys is told what it lacks.
  expect(await done(['keys', 'list'], { env: { ...env, DROVER_API_KEY: key } })).toMatchObject({ code: 1, errors: expect.stringContaining('lacks the scope "admin"') as string })
  const rotated = await done(['keys', 'rotate', id, '--json'], { env })
  const told = JSON.parse(rotated.output) as { id: string; key: string }
  expect(told.id).toBe(id)
  expect([(await get(url, '/api/tags', key)).status, (await get(url, '/api/tags', told.key)).status]).toEqual([401, 200])
  expect(await done(['keys', 'revoke', id], { env })).toMatchObject({ code: 0, output: `key ${id} is revoked\n` })
  expect((await get(url, '/api/tags', told.key)).status).toBe(401)
  expect(await done(['keys', 'revoke', id], { env })).toMatchObject({ code: 1, errors: `key '${id}' not found\n` })
})

test('what is wrong with a wish is said by its name', async ({ drover }) => {
  const { url } = await drover.gateway({ DROVER_API_KEY: OPERATOR_KEY })
  const env = { DROVER_URL: url, DROVER_API_KEY: OPERATOR_KEY }
  expect(await done(['keys', 'create', 'a', '--scope', 'all'], { env })).toMatchObject({ code: 1, errors: expect.stringMatching(/^scopes\.0: /) as string })
  expect(await done(['keys', 'create'], { env })).toMatchObject({ code: 2, errors: expect.stringMatching(/^expected one name/) as string })
  expect(await done(['keys', 'set', 'k1'], { env })).toMatchObject({ code: 2, errors: expect.stringMatching(/^nothing is to change: drover keys set ID/) as string })
  expect(await done(['keys', 'set', 'k1', '--queued', 'some'], { env })).toMatchObject({ code: 2, errors: expect.stringContaining('flag --queued: expected a whole number from 1 on, or none') as string })
  expect(await done(['keys', 'make'], { env })).toMatchObject({ code: 2, errors: expect.stringMatching(/^expected a command: drover keys create\|list\|set\|revoke\|rotate/) as string })
})
