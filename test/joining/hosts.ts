import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import type { ModelOptions } from '../engine/options.ts'
import { until } from '../support/drover.ts'
import { openNetwork, type Host } from '../support/network.ts'
import { startProgram } from '../support/program.ts'

const engineMain = fileURLToPath(new URL('../engine/main.ts', import.meta.url))

/** So many hosts on one network, on which the test itself is another. All is gone when the test is over. */
export const makeHosts = async (count: number): Promise<Host[]> => {
  const { hosts, close } = await openNetwork(count)
  onTestFinished(close)
  return hosts
}

/** Starts a scripted engine on a host; its URL, as that host sees it. */
export const engineOn = async ({ within }: Host, ...models: (string | ModelOptions)[]): Promise<string> => {
  const options = JSON.stringify({ models })
  const [program = '', ...args] = [...within, process.execPath, engineMain, '--options', options]
  const engine = await startProgram(program, args)
  onTestFinished(async () => {
    engine.signal('SIGKILL')
    await engine.exited
  })
  await until('the engine says its port', () => engine.log().includes('\n') || !engine.running())
  const { port } = JSON.parse(engine.log()) as { port: number }
  return `http://127.0.0.1:${port}`
}
