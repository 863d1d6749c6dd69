import { mkdtemp, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { chatLine } from '../batches/lines.ts'
import { until } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import { test as world } from '../support/world.ts'
import { postTo } from './asking.ts'

const test = world.extend('site', { scope: 'file' }, async ({ house, engines, redis }) => {
  const folder = await mkdtemp(join(redis.dir, 'files-'))
  const env = { DROVER_FILES_DIR: folder, DROVER_SEND_TWICE: '0.5' }
  const engine = await engines({ slots: 4 })
  const [a, b] = await Promise.all([house.gateway(env), house.gateway(env)])
  await house.worker('n1', [{ url: engine.url, slots: 4 }], { gateway: a })
  return { a: a.url, b: b.url, engine, folder }
})

const keyed = (key: string) => ({ 'idempotency-key': key })

const uploaded = async (url: string, text: string, key: string, name = 'in.jsonl') => {
  const form = new FormData()
  form.set('purpose', 'batch')
  form.set('file', new Blob([text]), name)
  const answer = await fetch(`${url}/v1/files`, { method: 'POST', body: form, headers: keyed(key) })
  return { status: answer.status, body: (await answer.json()) as { id: string; created_at: number; error?: { message: string } } }
}
const idOf = ({ text }: { text: string }) => (JSON.parse(text) as { id: string }).id

test('a file that is sent again with its key is the file that it was; another one is refused', async ({ site: { a, b, folder } }) => {
  const text = chatLine('u1')
  const answers = await Promise.all([a, b, a].map((url) => uploaded(url, text, 'file')))
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
  expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
  expect((await uploaded(b, text, 'file')).body).toEqual(answers[0]!.body)
  expect((await uploaded(b, text + text, 'file')).status).toBe(422)
  expect((await uploaded(b, text, 'file', 'other.jsonl')).status).toBe(422)
  const id = answers[0]!.body.id
  expect((await send(`${a}/v1/files/${id}/content`, { method: 'GET' })).text).toBe(text)
  expect((JSON.parse((await send(`${a}/v1/files`, { method: 'GET' })).text) as { data: { id: string }[] }).data.map((file) => file.id)).toEqual([id])
  expect((await uploaded(a, text, 'x'.repeat(256))).status).toBe(400)
  // What the repetitions have sent does not stay.
  await until('one content is left', async () => (await readdir(folder, { recursive: true })).filter((name) => name.includes('file-')).length === 1, 30_000)
})

test('a batch that is asked for again with its key is the batch that it was', async ({ site: { a, b, engine } }) => {
  const file = (await uploaded(a, chatLine('b1') + chatLine('b2'), 'batch-file')).body.id
  const body = { input_file_id: file, endpoint: '/v1/chat/completions', completion_window: '24h' }
  const answers = await Promise.all([a, b, b].map((url) => postTo(`${url}/v1/batches`, body, keyed('batch'))))
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
  const ids = new Set(answers.map(idOf))
  expect(ids.size).toBe(1)
  const [id] = [...ids]
  await until('it has ended', async () => (JSON.parse((await send(`${a}/v1/batches/${id}`, { method: 'GET' })).text) as { status: string }).status === 'completed', 30_000)
  // Also when its file has gone.
  await send(`${a}/v1/files/${file}`, { method: 'DELETE' })
  const later = await postTo(`${b}/v1/batches`, body, keyed('batch'))
  expect(JSON.parse(later.text)).toMatchObject({ id, status: 'completed', request_counts: { total: 2, completed: 2 } })
  expect((await postTo(`${b}/v1/batches`, { ...body, metadata: { a: 'b' } }, keyed('batch'))).status).toBe(422)
  expect((await engine.admin.job('b1')).requests).toBe(1)
})

test('a batch of messages likewise', async ({ site: { a, b, engine } }) => {
  const requests = ['m1', 'm2'].map((key) => ({ custom_id: key, params: { model: 'scripted:latest', max_tokens: 20, messages: [{ role: 'user', content: `job=${key} tokens=3` }] } }))
  const answers = await Promise.all([a, b].map((url) => postTo(`${url}/v1/messages/batches`, { requests }, keyed('messages'))))
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
  expect(new Set(answers.map(idOf)).size).toBe(1)
  expect(idOf(await postTo(`${b}/v1/messages/batches`, { requests }, keyed('messages')))).toBe(idOf(answers[0]!))
  expect((await postTo(`${b}/v1/messages/batches`, { requests: requests.slice(0, 1) }, keyed('messages'))).status).toBe(422)
  await until('it has ended', async () => (JSON.parse((await send(`${a}/v1/messages/batches/${idOf(answers[0]!)}`, { method: 'GET' })).text) as { processing_status: string }).processing_status === 'ended', 30_000)
  expect((await engine.admin.job('m1')).requests).toBe(1)
})
