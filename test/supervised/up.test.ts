import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { drover, greeted, nothingLeft, temporaryFolder } from '../cli/cli.ts'
import { until } from '../support/drover.ts'
import { llamaServerPath, skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { running, SMALL } from './site.ts'

const env = { DROVER_LLAMA_SERVER: llamaServerPath() ?? '', LLAMA_ARG_THREADS: '1' }

test.skipIf(skipsWithoutLlamaServer())('drover up on a machine without models: the pasted line is answered by the model that ships, a real one takes its place, and Ctrl-C leaves nothing', async () => {
  const data = await temporaryFolder('data')
  const up = drover(['up', '--data', data, '--port', '0'], env)
  await greeted(up)
  expect(up.output()).toContain('drover-small:latest is a tiny model that ships with Drover')
  expect(up.output()).toContain(`Put a GGUF file into ${data}/models`)
  const [, url = '', body = ''] = /curl -N (\S+) -d '(.*)'/.exec(up.output()) ?? []
  const answer = await fetch(url, { method: 'POST', body })
  expect(answer.status).toBe(200)
  const lines = (await answer.text()).trim().split('\n').map((line) => JSON.parse(line) as { message: { content: string }; done: boolean })
  expect(lines.at(-1)?.done).toBe(true)
  expect(lines.map(({ message }) => message.content).join('')).toContain('queue of jobs')

  await copyFile(SMALL, join(data, 'models', 'mine.gguf'))
  const names = async () => ((await (await fetch(new URL('/api/tags', url))).json()) as { models: { name: string }[] }).models.map(({ name }) => name)
  await until('the new model is the only one', async () => JSON.stringify(await names()) === '["mine:latest"]')
  up.signal('SIGINT')
  expect(await up.exited).toBe(0)
  await nothingLeft(up)
  expect(await running(data)).toEqual([])
})

test.skipIf(skipsWithoutLlamaServer())('a drover up that is killed leaves no llama-server either', async () => {
  const data = await temporaryFolder('data')
  const up = drover(['up', '--data', data, '--port', '0'], env)
  await greeted(up)
  const [, url = '', body = ''] = /curl -N (\S+) -d '(.*)'/.exec(up.output()) ?? []
  expect((await (await fetch(url, { method: 'POST', body })).text()).length).toBeGreaterThan(0)
  const servers = async () => [...(await up.processes()).values()].filter((line) => line.includes('llama-server'))
  expect((await servers()).length).toBeGreaterThan(0)
  up.signal('SIGKILL')
  await up.exited
  await nothingLeft(up)
})
