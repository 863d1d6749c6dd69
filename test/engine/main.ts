import { parseArgs } from 'node:util'
import type { ScriptedEngineOptions } from './options.ts'
import { startScriptedEngine } from './server.ts'

const USAGE = `node test/engine/main.ts [--port N] [--kind ollama|llama-server] [--model NAME]... [--slots N]
  [--load-ms N] [--swap-ms N] [--max-loaded N] [--tokens N] [--rate N] [--options JSON]

Prints {"port":N,"pid":N} when it listens. --options takes everything that startScriptedEngine does; the other flags win over it.`

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    kind: { type: 'string' },
    model: { type: 'string', multiple: true },
    slots: { type: 'string' },
    'load-ms': { type: 'string' },
    'swap-ms': { type: 'string' },
    'max-loaded': { type: 'string' },
    tokens: { type: 'string' },
    rate: { type: 'string' },
    options: { type: 'string' },
    help: { type: 'boolean' },
  },
})

const fail = (reason: string): never => {
  process.stderr.write(`${reason}\n`)
  process.exit(2)
}

const number = (name: 'port' | 'slots' | 'load-ms' | 'swap-ms' | 'max-loaded' | 'tokens' | 'rate'): number | undefined => {
  const text = values[name]
  if (text === undefined) return undefined
  const value = Number(text)
  return Number.isFinite(value) && value >= 0 ? value : fail(`--${name} takes a number, not "${text}"`)
}

const given = <K extends string, V>(key: K, value: V | undefined): { [name in K]?: V } =>
  (value === undefined ? {} : { [key]: value }) as { [name in K]?: V }

if (values.help) {
  process.stdout.write(`${USAGE}\n`)
  process.exit(0)
}
const { kind } = values
if (kind !== undefined && kind !== 'ollama' && kind !== 'llama-server') fail(`--kind is ollama or llama-server, not "${kind}"`)

const read = (text: string): ScriptedEngineOptions => {
  try {
    return JSON.parse(text) as ScriptedEngineOptions
  } catch {
    return fail('--options takes JSON')
  }
}
const base = read(values.options ?? '{}')
const options: ScriptedEngineOptions = {
  ...base,
  ...given('kind', kind as ScriptedEngineOptions['kind']),
  ...given('port', number('port')),
  ...given('models', values.model),
  ...given('slots', number('slots')),
  ...given('loadMs', number('load-ms')),
  ...given('swapMs', number('swap-ms')),
  ...given('maxLoaded', number('max-loaded')),
  script: { ...base.script, ...given('tokens', number('tokens')), ...given('rate', number('rate')) },
}

const engine = await startScriptedEngine(options, () => process.exit(134)).catch((error: unknown) =>
  fail(`the scripted engine cannot start: ${error instanceof Error ? error.message : String(error)}`),
)
process.stdout.write(`${JSON.stringify({ port: Number(new URL(engine.url).port), pid: process.pid })}\n`)
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(0))
