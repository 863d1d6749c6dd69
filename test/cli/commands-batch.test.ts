import { readFile, writeFile } from 'node:fs/promises'
import { expect } from 'vitest'
import { verifyText } from '../engine/tokens.ts'
import { until } from '../support/drover.ts'
import { test as base } from '../support/world.ts'
import { temporaryFolder } from './cli.ts'
import { command, done, json } from './commands-setup.ts'

/** One node with eight slots, and a gateway that keeps files. */
const test = base
  .extend('engine', { scope: 'file' }, ({ engines }) => engines({ models: [{ name: 'shared:8b', slots: 8 }] }))
  .extend('env', { scope: 'file' }, async ({ house, engine }) => {
    const gateway = await house.gateway()
    await house.worker('alpha', [{ url: engine.url, slots: 8 }], { gateway })
    return { DROVER_URL: gateway.url }
  })

const line = (key: string, tokens: number, more = ''): string =>
  JSON.stringify({ custom_id: key, method: 'POST', url: '/v1/chat/completions', body: { model: 'shared:8b', messages: [{ role: 'user', content: `job=${key} tokens=${tokens} ${more}` }] } })

interface Result {
  custom_id: string
  response: { body: { choices: { message: { content: string } }[] } }
}

const resultsOf = (text: string): Result[] => text.trim().split('\n').map((each) => JSON.parse(each) as Result)

const rightIds = (text: string): string[] =>
  resultsOf(text).filter(({ custom_id: key, response }) => verifyText(key, response.body.choices[0]?.message.content ?? '').ok).map(({ custom_id: key }) => key).toSorted()

test('batch run answers a file with a file, and says what is where', async ({ env }) => {
  const folder = await temporaryFolder()
  const keys = Array.from({ length: 30 }, (_, i) => `r-${String(i).padStart(2, '0')}`)
  await writeFile(`${folder}/in.jsonl`, keys.map((key) => line(key, 3)).join('\n'))
  const { code, output, errors } = await done(['batch', 'run', `${folder}/in.jsonl`, '-o', `${folder}/out.jsonl`], { env })
  expect({ code, output }, errors).toEqual({ code: 0, output: `30 answers are in ${folder}/out.jsonl\n` })
  expect(errors).toMatch(/completed 30 of 30/)
  expect(rightIds(await readFile(`${folder}/out.jsonl`, 'utf8'))).toEqual(keys)
})

test('a batch whose command is stopped by Ctrl-C goes on, and --resume waits for it again', async ({ env, engine }) => {
  const folder = await temporaryFolder()
  const [input, out] = [`${folder}/in.jsonl`, `${folder}/out.jsonl`]
  const keys = Array.from({ length: 12 }, (_, i) => `c-${String(i).padStart(2, '0')}`)
  await writeFile(input, keys.map((key) => line(key, 4)).join('\n'))
  // The batch does not end before its command.
  await engine.admin.set({ hold: 1 }, 'c-11')
  const running = command(['batch', 'run', input, '-o', out], { env })
  await until('its last line runs', async () => (await engine.admin.job('c-11')).running > 0)
  running.signal('SIGINT')
  expect(await running.exited).toBe(130)
  await engine.admin.release('c-11')
  expect(running.errors()).toMatch(/batch (batch_\S+) goes on; "drover batch run .* --resume" waits for it again/)

  expect(await done(['batch', 'run', input, '-o', out], { env })).toMatchObject({ code: 2, errors: expect.stringContaining('--resume') as string })
  expect(await done(['batch', 'run', input, '-o', out, '--resume'], { env })).toMatchObject({ code: 0, output: `12 answers are in ${out}\n` })
  expect(rightIds(await readFile(out, 'utf8'))).toEqual(keys)
  // Each line ran once: nothing was handed in again.
  const { jobs } = await engine.admin.stats()
  for (const key of keys) expect(jobs[key]).toMatchObject({ requests: 1, completed: 1 })
  expect(await done(['batch', 'run', input, '-o', out, '--resume'], { env })).toMatchObject({ code: 2, errors: expect.stringContaining('nothing to resume') as string })
})

test('a file with a bad line is refused with its number, and nothing is left to resume', async ({ env }) => {
  const folder = await temporaryFolder()
  await writeFile(`${folder}/in.jsonl`, [line('b-0', 1), '{"custom_id": "b-1"}', line('b-2', 1)].join('\n'))
  const { code, errors } = await done(['batch', 'run', `${folder}/in.jsonl`, '-o', `${folder}/out.jsonl`], { env })
  expect({ code, errors }).toEqual({ code: 1, errors: expect.stringMatching(/batch batch_\S+ is refused:\n {2}line 2: /) as string })
  expect(await done(['batch', 'run', `${folder}/in.jsonl`, '-o', `${folder}/out.jsonl`, '--resume'], { env })).toMatchObject({ errors: expect.stringContaining('nothing to resume') as string })
})

test('lines that fail go to a file of their own, and the exit code says so', async ({ env }) => {
  const folder = await temporaryFolder()
  await writeFile(`${folder}/in.jsonl`, [line('f-0', 2), line('f-1', 2, 'fail=400')].join('\n'))
  const { code, errors } = await done(['batch', 'run', `${folder}/in.jsonl`, '-o', `${folder}/out.jsonl`], { env })
  expect({ code, errors }).toEqual({ code: 1, errors: expect.stringContaining(`1 of 2 are answered, in ${folder}/out.jsonl; the others are in ${folder}/out.errors.jsonl`) as string })
  expect(rightIds(await readFile(`${folder}/out.jsonl`, 'utf8'))).toEqual(['f-0'])
  expect(resultsOf(await readFile(`${folder}/out.errors.jsonl`, 'utf8')).map(({ custom_id: key }) => key)).toEqual(['f-1'])
})

test('submit, status, results, cancel and list do the same in steps', async ({ env }) => {
  const folder = await temporaryFolder()
  await writeFile(`${folder}/in.jsonl`, line('s-0', 2))
  const { output } = await done(['batch', 'submit', `${folder}/in.jsonl`], { env })
  const id = output.trim()
  await until('it is done', async () => ((await json(['batch', 'status', id], { env })) as { status: string }).status === 'completed')
  expect((await done(['batch', 'status', id], { env })).output).toBe(`${id}: completed 1 of 1\n`)
  expect(rightIds((await done(['batch', 'results', id], { env })).output)).toEqual(['s-0'])

  await writeFile(`${folder}/long.jsonl`, line('s-1', 2, 'stall_at=1'))
  const long = (await done(['batch', 'submit', `${folder}/long.jsonl`], { env })).output.trim()
  await done(['batch', 'cancel', long], { env })
  await until('it is cancelled', async () => ((await json(['batch', 'status', long], { env })) as { status: string }).status === 'cancelled')
  expect((await done(['batch', 'list'], { env })).output).toMatch(new RegExp(`^BATCH +STATUS .*\n${long} +cancelled .*\n${id} +completed +1/1`))
  expect(await done(['batch', 'status', 'batch_nobody'], { env })).toMatchObject({ code: 1, errors: expect.stringContaining('batch_nobody') as string })
})
