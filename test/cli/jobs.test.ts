import { expect } from 'vitest'
import { expectedText } from '../engine/tokens.ts'
import { handIn, resultOf, show, untilState } from '../jobs/asking.ts'
import { test as base } from '../support/world.ts'
import { command, done, json } from './commands-setup.ts'

const test = base.extend('at', { scope: 'file' }, async ({ house, engines }) => {
  const engine = await engines({ slots: 8, models: [{ name: 'scripted', capabilities: ['completion', 'embedding'] }] })
  const gateway = await house.gateway()
  await house.worker('n1', [{ url: engine.url, slots: 8 }], { gateway })
  return { url: gateway.url, engine, env: { DROVER_URL: gateway.url }, another: () => house.gateway() }
})

const chat = (prompt: string, fields: Record<string, unknown> = {}) => ({ model: 'scripted', messages: [{ role: 'user', content: prompt }], ...fields })

test('jobs are listed and shown, for people and as JSON', async ({ at: { url, env } }) => {
  const ids = []
  for (const key of ['one', 'two', 'three']) ids.push(await handIn(url, '/api/chat', chat(`job=${key} tokens=4`, { stream: false })))
  for (const id of ids) await resultOf(url, id)
  const newest = ids.toReversed()
  expect(await json(['jobs', 'list'], { env })).toMatchObject({ jobs: newest.map((id) => ({ id, state: 'completed', model: 'scripted:latest' })) })
  expect(await json(['jobs', 'list', '--limit', '1', '--state', 'completed', '--model', 'scripted'], { env })).toMatchObject({ jobs: [{ id: newest[0] }] })
  expect(await json(['jobs', 'list', '--state', 'failed'], { env })).toEqual({ jobs: [] })
  const { code, output } = await done(['jobs', 'list'], { env })
  expect(code).toBe(0)
  expect(output.trimEnd().split('\n')).toEqual([expect.stringMatching(/^JOB +STATE +MODEL +NODE +TOKENS +TOOK +AGE$/), ...newest.map((id) => expect.stringMatching(new RegExp(`^${id} +completed +scripted:latest +n1 +4 +\\d+ m?s +\\d+ m?s$`)) as string)])
  expect(await json(['jobs', 'show', ids[0]!], { env })).toEqual(await show(url, ids[0]!))
  expect((await done(['jobs', 'show', ids[0]!], { env })).output).toMatch(/^job: +0-.*\nstate: +completed\n[^]*\nnode: +n1\nattempts: +1\n[^]*\ntokens: +\d+ read, 4 written\n$/)
  expect(await done(['jobs', 'show', `0-${'x'.repeat(22)}`], { env })).toMatchObject({ code: 1, output: '', errors: expect.stringContaining('not found') as string })
  expect(await done(['jobs'], { env })).toMatchObject({ code: 2, errors: expect.stringContaining('drover jobs list|show|follow|cancel') as string })
})

test('an answer is followed while it grows, and afterwards, in any format', async ({ at: { url, env, engine } }) => {
  await engine.admin.set({ stall_at: 6, tokens: 12 }, 'grows')
  const id = await handIn(url, '/v1/chat/completions', chat('job=grows', { stream: true }))
  const following = command(['jobs', 'follow', id], { env })
  await expect.poll(() => following.output(), { timeout: 10_000 }).toBe(expectedText('grows', 6))
  await engine.admin.release('grows')
  expect(await following.exited).toBe(0)
  expect(following.output().trimEnd()).toBe(expectedText('grows', 12).trimEnd())
  const others = [
    await handIn(url, '/api/chat', chat('job=other tokens=5')),
    await handIn(url, '/v1/messages', chat('job=other tokens=5', { max_tokens: 50, stream: true })),
    await handIn(url, '/v1/responses', { model: 'scripted', input: 'job=other tokens=5', stream: true }),
    await handIn(url, '/v1/responses', { model: 'scripted', input: 'job=other tokens=5' }),
    await handIn(url, '/api/generate', { model: 'scripted', prompt: 'job=other tokens=5', stream: false }),
  ]
  for (const each of others) expect((await done(['jobs', 'follow', each], { env })).output.trimEnd()).toBe(expectedText('other', 5).trimEnd())
  const raw = (await done(['jobs', 'follow', others[0]!, '--json'], { env })).output.trimEnd().split('\n')
  expect(JSON.parse(raw.at(-1)!)).toMatchObject({ done: true })
  const failed = await handIn(url, '/api/chat', chat('job=fails fail=400'))
  expect(await done(['jobs', 'follow', failed], { env })).toMatchObject({ code: 1, output: '', errors: expect.stringContaining('scripted failure') as string })
})

test('a job is cancelled, and one that has ended stays', async ({ at: { url, env, engine } }) => {
  const running = await handIn(url, '/api/chat', chat('job=cancelled tokens=1000 rate=20'))
  await untilState(url, running, 'running')
  const ended = await handIn(url, '/api/chat', chat('job=ended tokens=2', { stream: false }))
  await resultOf(url, ended)
  expect((await done(['jobs', 'cancel', running, ended], { env })).output).toBe(`${running} is cancelled\n${ended} had ended already\n`)
  await expect.poll(async () => (await engine.admin.job('cancelled')).aborts, { timeout: 5_000 }).toBe(1)
  expect((await resultOf(url, ended)).status).toBe(200)
})
