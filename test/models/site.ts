import { Ollama } from 'ollama'
import type { LibraryModel } from '../engine/library.ts'
import type { ScriptedEngine } from '../engine/server.ts'
import { until, type Environment, type Gateway, type Installation, type Part } from '../support/drover.ts'
import { send } from '../support/raw.ts'
import type { StartScripted } from '../support/world.ts'

export { goesBack, pullLines, streamedLines, type Line } from './lines.ts'

/** Nodes with an Ollama each, which has a model of its own, and a gateway or two before them. */
export interface ModelSite {
  gateways: Gateway[]
  url: string
  client: Ollama
  nodes: Map<string, { engine: ScriptedEngine; worker: Part }>
  /** Nodes whose engine holds a model, as the engines say. */
  holders(model: string): Promise<string[]>
  /** A count over all engines. */
  sum(model: string, field: 'pulls' | 'pulling' | 'pulled' | 'leftPulls' | 'pushes' | 'creates' | 'copies' | 'deletes'): Promise<number>
}

export interface SiteOptions {
  nodes: readonly string[]
  library?: LibraryModel[]
  gateways?: number
  env?: Environment
}

interface Sources {
  drover: Installation
  scripted: StartScripted
}

const holds = async (engine: ScriptedEngine, model: string): Promise<boolean> =>
  (JSON.parse((await send(`${engine.url}/api/tags`, { method: 'GET' })).text) as { models: { name: string }[] }).models.some(({ name }) => name === model)

export const modelSite = async ({ drover, scripted }: Sources, { nodes: names, library = [], gateways: count = 1, env = {} }: SiteOptions): Promise<ModelSite> => {
  const gateways: Gateway[] = []
  for (let i = 0; i < count; i += 1) gateways.push(await drover.gateway(env))
  const nodes = new Map<string, { engine: ScriptedEngine; worker: Part }>()
  for (const name of names) {
    const engine = await scripted({ models: [`own-${name}`], library })
    nodes.set(name, { engine, worker: await drover.worker(name, [engine.url]) })
  }
  const url = gateways[0]!.url
  for (const gateway of gateways)
    await until('all nodes are known', async () => {
      const { models } = JSON.parse((await send(`${gateway.url}/api/tags`, { method: 'GET' })).text) as { models: unknown[] }
      return models.length === names.length
    })
  return {
    gateways,
    url,
    client: new Ollama({ host: url }),
    nodes,
    async holders(model) {
      const held = await Promise.all([...nodes].map(async ([name, { engine }]) => ((await holds(engine, model).catch(() => false)) ? [name] : [])))
      return held.flat().toSorted()
    },
    async sum(model, field) {
      const counts = await Promise.all([...nodes.values()].map(({ engine }) => engine.admin.managed(model).catch(() => undefined)))
      return counts.reduce((sum, each) => sum + (each?.[field] ?? 0), 0)
    },
  }
}
