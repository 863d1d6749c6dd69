import { networkInterfaces } from 'node:os'
import { type Engine, type EngineSearch, findEngines } from '@drover/engines'
import { fail, type Finding, ok, warn } from './check.ts'
import { holesOf } from './known-holes.ts'

const LOOK_MS = 4_000
const OUTSIDE_MS = 1_000

const update = { ollama: 'update Ollama (ollama.com/download)', 'llama-server': 'update llama.cpp' } as const

/** The engines as a worker here would find them, each with what is known of it. */
export const checkEngines = async (search: EngineSearch, signal: AbortSignal): Promise<Finding[]> => {
  const { engines, problems } = await findEngines(search, signal)
  try {
    const judged = await Promise.all(engines.map((engine) => judge(engine, signal)))
    const refused = problems.map(({ url, reason }) => fail(`engine ${url}`, reason, 'start it, or correct --engine'))
    if (judged.length + refused.length > 0) return [...judged.flat(), ...refused]
    return [warn('engines', 'none runs on this machine by itself', 'start Ollama, name one with --engine URL, or put GGUF files into the models folder; a gateway alone needs none')]
  } finally {
    await Promise.all(engines.map((engine) => engine.close()))
  }
}

const judge = async (engine: Engine, signal: AbortSignal): Promise<Finding[]> => {
  const name = `engine ${engine.id}`
  try {
    const view = await engine.look(AbortSignal.any([signal, AbortSignal.timeout(LOOK_MS)]))
    const version = view.version ?? ''
    const text = `${engine.kind}${version && ` ${version}`}, ${view.held.length} models, ${view.loaded.length} in memory`
    const holes = version === '' ? [] : holesOf(engine.kind, version)
    const found = holes.length === 0 ? ok(name, text) : warn(name, `${text}; has ${holes.join(', ')}`, update[engine.kind])
    const empty = view.held.length === 0 ? [warn(`${name} models`, 'it holds none', engine.kind === 'ollama' ? 'ollama pull llama3.2' : 'wait until it has loaded its model')] : []
    return [found, ...empty, ...(await outside(engine))]
  } catch (error) {
    return [fail(name, error instanceof Error ? error.message : String(error), 'start it, or correct --engine')]
  }
}

/** An engine that others on the network reach past Drover, as engines ask for no key. */
const outside = async ({ id, url }: Engine): Promise<Finding[]> => {
  const { hostname, port } = new URL(url)
  if (!/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname) || port === '') return []
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []).find(({ internal, family }) => !internal && family === 'IPv4')
  if (!own) return []
  try {
    const response = await fetch(`http://${own.address}:${port}/`, { signal: AbortSignal.timeout(OUTSIDE_MS) })
    await response.body?.cancel()
    if (response.status >= 400) return []
    return [warn(`engine ${id} access`, `answers at ${own.address} too, where it asks nobody for a key`, 'bind it to 127.0.0.1 (OLLAMA_HOST, --host), unless the network is yours alone')]
  } catch {
    return []
  }
}
