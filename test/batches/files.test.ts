import { request } from 'node:http'
import OpenAI, { NotFoundError, toFile } from 'openai'
import { describe, expect } from 'vitest'
import { until } from '../support/drover.ts'
import { all } from '../support/world.ts'
import { KINDS } from './places.ts'
import { testIn } from './world.ts'

const clientOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 })
const LINE = '{"custom_id":"a"}\n'

describe.for(KINDS)('in a %s', (kind) => {
  const test = testIn(kind)

  test('the openai client uploads, lists, reads and deletes files', async ({ drover, place }) => {
    const { url } = await drover.gateway(place.env)
    const openai = clientOf(url)
    const made = await openai.files.create({ file: await toFile(Buffer.from(LINE.repeat(3)), 'three.jsonl'), purpose: 'batch' })
    expect(made).toMatchObject({ object: 'file', bytes: 3 * LINE.length, filename: 'three.jsonl', purpose: 'batch', status: 'processed' })
    expect((made.expires_at ?? 0) - made.created_at).toBe(30 * 24 * 3600)
    expect(await openai.files.retrieve(made.id)).toEqual(made)
    expect(await (await openai.files.content(made.id)).text()).toBe(LINE.repeat(3))
    const others = []
    for (let i = 0; i < 4; i += 1) others.push(await openai.files.create({ file: await toFile(Buffer.from(LINE), `${i}.jsonl`), purpose: 'batch', expires_after: { anchor: 'created_at', seconds: 3600 } }))
    expect((others[0]?.expires_at ?? 0) - (others[0]?.created_at ?? 0)).toBe(3600)
    // Pages of two, newest first.
    expect((await all(await openai.files.list({ limit: 2 }))).map(({ filename }) => filename)).toEqual(['3.jsonl', '2.jsonl', '1.jsonl', '0.jsonl', 'three.jsonl'])
    expect((await all(await openai.files.list({ limit: 2, order: 'asc' }))).map(({ filename }) => filename)).toEqual(['three.jsonl', '0.jsonl', '1.jsonl', '2.jsonl', '3.jsonl'])
    expect((await openai.files.list({ purpose: 'batch_output' })).data).toEqual([])
    expect(await openai.files.delete(made.id)).toEqual({ id: made.id, object: 'file', deleted: true })
    await expect(openai.files.retrieve(made.id)).rejects.toThrow(NotFoundError)
    await expect(openai.files.content(made.id)).rejects.toThrow(/404 No such File object/)
    expect((await openai.files.list()).data).toHaveLength(4)
    await until('its content is gone', async () => (await place.contents()).length === 4, 20_000)
  })

  test('a file that is too large, of another purpose or cut off leaves nothing behind, and says why', async ({ drover, place }) => {
    const { url } = await drover.gateway({ ...place.env, DROVER_FILE_LIMIT: '64kb' })
    const openai = clientOf(url)
    const large = await toFile(Buffer.alloc(65 * 1024, 'x'), 'large.jsonl')
    await expect(openai.files.create({ file: large, purpose: 'batch' })).rejects.toThrow('413 the file is larger than 65536 bytes')
    await expect(openai.files.create({ file: await toFile(Buffer.from(LINE), 'a.jsonl'), purpose: 'assistants' })).rejects.toThrow("400 files are kept for the purpose 'batch' only")
    await expect(openai.files.create({ file: await toFile(Buffer.from(LINE), 'a.jsonl'), purpose: 'batch', expires_after: { anchor: 'created_at', seconds: 60 } })).rejects.toThrow(/400 expires_after.seconds/)
    for (const [type, body, told] of [
      ['application/json', '{}', 'a file is sent as multipart/form-data'],
      ['multipart/form-data', 'x', 'the form cannot be read'],
      ['multipart/form-data; boundary=b', '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n', "the form has no file in its field 'file'"],
      ['multipart/form-data; boundary=b', '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nhalf', 'the form cannot be read'],
    ] as const) {
      const answer = await fetch(`${url}/v1/files`, { method: 'POST', headers: { 'content-type': type }, body })
      expect([answer.status, ((await answer.json()) as { error: { message: string } }).error.message]).toEqual([400, told])
    }
    // A client that leaves in mid-upload.
    const leaving = request(`${url}/v1/files`, { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=b', 'content-length': 50_000 } })
    leaving.on('error', () => undefined)
    leaving.write('--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nhalf')
    // A bucket is given whole objects only.
    if (place.kind === 'folder') await until('it is being written', async () => (await place.contents()).length > 0)
    leaving.destroy()
    await until('nothing is left', async () => (await place.contents()).length === 0)
    expect((await openai.files.list()).data).toEqual([])
  })

  test('gateways that share it serve each other’s files, and one that has another place says so', async ({ drover, place }) => {
    const [one, other, apart] = await Promise.all([drover.gateway(place.env), drover.gateway(place.env), drover.gateway(place.apart)])
    const made = await clientOf(one.url).files.create({ file: await toFile(Buffer.from(LINE), 'a.jsonl'), purpose: 'batch' })
    expect(await (await clientOf(other.url).files.content(made.id)).text()).toBe(LINE)
    expect(await clientOf(apart.url).files.retrieve(made.id)).toEqual(made)
    await expect(clientOf(apart.url).files.content(made.id)).rejects.toThrow(/409 the file lies in a folder/)
  })
})
