import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { temporaryFolder } from './cli.ts'

const setup = fileURLToPath(new URL('../../deploy/setup', import.meta.url))

/** Stands in for npm: `ci` notes that it ran, fails with `NPM_FAILS`, takes its time or waits for the file `NPM_UNTIL`, and installs tools that do as their variables say. */
const NPM = `
const { appendFileSync, existsSync, mkdirSync, rmSync, writeFileSync } = require('node:fs')
appendFileSync('npm.log', process.argv.slice(2).join(' ') + '\\n')
writeFileSync('npm.pid', String(process.pid))
if (process.env.NPM_FAILS) {
  process.stderr.write(process.env.NPM_FAILS === '1' ? 'npm error code EFAIL\\nnpm error the registry is on holiday\\n' : process.env.NPM_FAILS)
  process.exit(1)
}
rmSync('node_modules', { recursive: true, force: true })
mkdirSync('node_modules/.bin', { recursive: true })
writeFileSync('node_modules/large', Buffer.alloc(Number(process.env.NPM_BYTES ?? 0)))
const code = (name) => 'process.exit(Number(process.env.' + name + '_CODE ?? 0))'
writeFileSync('node_modules/.bin/tsc', code('TSC'))
writeFileSync('node_modules/.bin/oxlint', code('OXLINT'))
writeFileSync('node_modules/.bin/vitest', \`
  const flag = '--outputFile.json='
  const file = process.argv.find((word) => word.startsWith(flag)).slice(flag.length)
  console.log('vitest ' + process.argv.filter((word) => !word.startsWith('--') && !word.startsWith('/')).join(' '))
  console.log('llama ' + process.env.DROVER_LLAMA_SERVER)
  if (process.env.REPORT) require('node:fs').writeFileSync(file, process.env.REPORT)
  \${code('VITEST')}\`)
setTimeout(() => {}, Number(process.env.NPM_MS ?? 0))
const waiting = setInterval(() => existsSync(process.env.NPM_UNTIL ?? '.') && clearInterval(waiting), 20)
`

/** Stands in for the command line: says what it was given, and how it ends. */
const CLI = `
console.log('cli ' + process.argv.slice(2).join(' ') + ' redis=' + process.env.DROVER_REDIS_SERVER + ' llama=' + process.env.DROVER_LLAMA_SERVER)
if (process.argv.includes('stay')) {
  setInterval(() => {}, 1000)
  process.on('SIGTERM', () => process.exit(7))
  process.on('disconnect', () => process.exit(8))
  console.log('pid ' + process.pid)
}
process.exitCode = 5
`

export interface Run {
  pid: number
  output: () => string
  exited: Promise<number | string>
  signal: (name: NodeJS.Signals) => void
}

export interface SetupProject {
  folder: string
  run: (args: readonly string[], env?: Record<string, string>) => Run
  /** What npm was asked to do so far. */
  npmCalls: () => Promise<string[]>
}

/** A project of its own with our set-up in it, and stand-ins for all that the set-up calls; in a temporary folder unless told where. */
export const setupProject = async (at?: string): Promise<SetupProject> => {
  const folder = at ?? (await temporaryFolder('project'))
  await mkdir(join(folder, 'apps/cli/src'), { recursive: true })
  await mkdir(join(folder, 'bin'))
  await cp(setup, join(folder, 'deploy/setup'), { recursive: true })
  await writeFile(join(folder, 'package.json'), '{"type":"commonjs"}')
  await writeFile(join(folder, 'package-lock.json'), '{}')
  await writeFile(join(folder, 'bin/npm-cli.js'), NPM)
  await writeFile(join(folder, 'apps/cli/src/main.ts'), CLI)
  const server = join(folder, 'bin/redis-server')
  await writeFile(server, '')
  await chmod(server, 0o755)

  const run: SetupProject['run'] = (args, env = {}) => {
    const base = { PATH: join(folder, 'bin'), HOME: folder, npm_execpath: join(folder, 'bin/npm-cli.js'), DROVER_LLAMA_SERVER: '/given/llama-server' }
    const child = spawn(process.execPath, [join(folder, 'deploy/setup/run.mjs'), ...args], { cwd: folder, env: { ...base, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    onTestFinished(() => void child.kill('SIGKILL'))
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
    const exited = once(child, 'close').then(([code, signal]: (number | string | null)[]) => code ?? signal ?? 0)
    return { pid: child.pid ?? 0, output: () => output, exited, signal: (name) => void child.kill(name) }
  }
  const npmCalls = async () => (await readFile(join(folder, 'npm.log'), 'utf8').catch(() => '')).split('\n').filter(Boolean)
  return { folder, run, npmCalls }
}
