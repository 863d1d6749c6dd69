import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startProgram } from '../support/program.ts'
import { engineAdmin } from './admin.ts'
import type { ScriptedEngineOptions } from './options.ts'
import type { ScriptedEngine } from './server.ts'

export interface ScriptedEngineProcess extends ScriptedEngine {
  pid: number
  /** Resolves with the exit code, or the signal's name. */
  exited: Promise<number | string>
  signal(name: NodeJS.Signals): void
}

/** The scripted engine as a process of its own, for what needs real signals or a core of its own. */
export const spawnScriptedEngine = async (options: ScriptedEngineOptions = {}): Promise<ScriptedEngineProcess> => {
  const main = fileURLToPath(new URL('main.ts', import.meta.url))
  const program = await startProgram(process.execPath, [main, '--options', JSON.stringify(options)])
  const { pid, exited, signal } = program
  while (!program.log().includes('\n') && program.running()) await sleep(10)
  if (!program.running()) throw new Error(`the scripted engine did not start: ${program.log().trim()}`)
  const { port } = JSON.parse(program.log()) as { port: number }
  const url = `http://127.0.0.1:${port}`
  const close = async () => {
    signal('SIGKILL')
    await exited
  }
  return { url, pid, admin: engineAdmin(url), exited, signal, close, [Symbol.asyncDispose]: close }
}
