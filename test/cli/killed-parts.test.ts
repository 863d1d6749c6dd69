import { expect, onTestFinished, test } from 'vitest'
import { startScriptedEngine } from '../engine/server.ts'
import { ask } from '../support/client.ts'
import { until } from '../support/drover.ts'
import { freePort } from '../support/program.ts'
import { drover, greeted, nothingLeft, temporaryFolder } from './cli.ts'

/** From the kill to the first whole answer, ms. */
const BACK_MS = 5_000

test('whatever part is killed while 20 clients stream, answers come again within 5 s, none ends falsely, and Ctrl-C leaves nothing', async () => {
  const engine = await startScriptedEngine({ models: ['tiny'], slots: 32 })
  onTestFinished(() => engine.close())
  const up = drover(['up', '--data', await temporaryFolder('data'), '--port', `${await freePort()}`, '--engine', JSON.stringify({ url: engine.url, slots: 32 })])
  const url = await greeted(up)

  const enough = new AbortController()
  const outcomes = { whole: 0, broken: 0, wrong: [] as unknown[] }
  let number = 0
  const client = async () => {
    while (!enough.signal.aborted) {
      const key = `client${number++}`
      const told = await ask(url, 'openai.chat', { key, model: 'tiny', script: { tokens: 60, rate: 100 } }).told.catch(() => undefined)
      // A gateway that is gone refuses or resets the connection: that is no false end.
      if (!told || told.status !== 200 || !told.ended || told.error !== undefined) {
        outcomes.broken += 1
        await new Promise((resolve) => setTimeout(resolve, 50))
      } else if (told.verdict.ok && told.verdict.count === 60) outcomes.whole += 1
      else outcomes.wrong.push(told)
    }
  }
  const clients = Promise.all(Array.from({ length: 20 }, client))
  await until('the first answers are whole', () => outcomes.whole >= 20)

  for (const part of ['unixsocket:', 'apps/worker/', 'apps/gateway/', 'redis-guard']) {
    const [pid] = [...(await up.processes())].find(([, line]) => line.includes(part)) ?? []
    if (pid === undefined) throw new Error(`no ${part} runs`)
    const killed = performance.now()
    process.kill(pid, 'SIGKILL')
    // A request made after the kill, not one that slipped through before.
    await until(`an answer comes after ${part} was killed`, async () => {
      const told = await ask(url, 'ollama.chat', { key: `after${number++}`, model: 'tiny', script: { tokens: 3 } }).told.catch(() => undefined)
      return told?.status === 200 && told.ended && told.verdict.ok && !(await up.processes()).has(pid)
    }, 15_000)
    expect(performance.now() - killed, `${part} is back`).toBeLessThan(BACK_MS)
    const { whole } = outcomes
    await until('the clients have answers again', () => outcomes.whole >= whole + 20, 15_000)
  }

  enough.abort()
  await clients
  expect(outcomes.wrong).toEqual([])
  up.signal('SIGINT')
  expect(await up.exited).toBe(0)
  await nothingLeft(up)
}, 120_000)
