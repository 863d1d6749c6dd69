import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { startProgram } from '../support/program.ts'
import { until } from '../support/drover.ts'

const engineMain = fileURLToPath(new URL('../engine/main.ts', import.meta.url))

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/** Why no hosts can be made here; `undefined` when they can. */
export const noHosts = (): string | undefined => {
  if (process.platform !== 'linux') return 'network namespaces are Linux’ own'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const name = `drover-${randomBytes(3).toString('hex')}`
  try {
    ip('netns', 'add', name)
    ip('netns', 'del', name)
    return undefined
  } catch (error) {
    return `no network namespace can be made: ${error instanceof Error ? error.message.split('\n').join(' ') : String(error)}`
  }
}

/** A machine of its own as far as the network goes. */
export interface Host {
  address: string
  /** What runs a program there. */
  within: readonly string[]
  /** Pulls its network cable, and puts it back. */
  cut: () => void
  mend: () => void
  /** Gives it another address instead of the one it has. */
  move: () => string
  /** Starts a scripted engine there; its URL, as that host sees it. */
  engine: (...models: string[]) => Promise<string>
}

/** So many hosts on one network, on which the test itself is another. All is gone when the test is over. */
export const makeHosts = (count: number): Host[] => {
  const name = `d${randomBytes(3).toString('hex')}`
  const [one = 0, two = 0] = randomBytes(2)
  const subnet = `10.${100 + (one % 100)}.${two}`
  const undo: (() => void)[] = []
  onTestFinished(() => {
    for (const step of undo.toReversed()) {
      try {
        step()
      } catch {
        // It was never made.
      }
    }
  })
  undo.push(() => ip('link', 'del', name))
  ip('link', 'add', name, 'type', 'bridge')
  ip('addr', 'add', `${subnet}.1/24`, 'dev', name)
  ip('link', 'set', name, 'up')
  return Array.from({ length: count }, (_, at) => {
    const space = `${name}-${at}`
    const cable = `${name}v${at}`
    let last = at + 2
    undo.push(() => ip('netns', 'del', space))
    ip('netns', 'add', space)
    undo.push(() => ip('link', 'del', cable))
    ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
    ip('link', 'set', cable, 'master', name, 'up')
    ip('-n', space, 'addr', 'add', `${subnet}.${last}/24`, 'dev', 'eth0')
    for (const each of ['lo', 'eth0']) ip('-n', space, 'link', 'set', each, 'up')
    const within = ['ip', 'netns', 'exec', space]
    return {
      get address() {
        return `${subnet}.${last}`
      },
      within,
      cut: () => void ip('link', 'set', cable, 'down'),
      mend: () => void ip('link', 'set', cable, 'up'),
      move() {
        ip('-n', space, 'addr', 'del', `${subnet}.${last}/24`, 'dev', 'eth0')
        last += 100
        ip('-n', space, 'addr', 'add', `${subnet}.${last}/24`, 'dev', 'eth0')
        return this.address
      },
      engine: async (...models) => {
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
      },
    }
  })
}
