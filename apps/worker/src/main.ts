import { OLLAMA_PORTS } from '@drover/engines'
import { createLog, loadConfig, onShutdown, redisTarget, runMain, type ShutdownStep } from '@drover/service'
import { workerConfig } from './config.ts'
import { frontedNodes } from './fronted.ts'
import { startNode, type NodeOptions } from './node.ts'

runMain(async () => {
  const { values: config, sources } = loadConfig(workerConfig)
  const log = createLog({ app: 'worker', logLevel: config.logLevel, logFormat: config.logFormat })
  const labels = Object.fromEntries(config.label.map((label) => [label.slice(0, label.indexOf('=')), label.slice(label.indexOf('=') + 1)]))
  const redis = await redisTarget('worker', config, sources)
  const common = { labels, siblings: [], config, redis, log }

  const fronted = frontedNodes(config.clusterHardware, config.inferenceServers)
  const nodes: Omit<NodeOptions, keyof typeof common>[] = fronted.map(({ id, priority, engine }) => ({
    id, preference: config.preference - priority, engines: [engine], look: { ports: [] }, local: false,
  }))
  // Whoever lists the engines of other machines means those, unless engines or models of this one are named, too.
  if (fronted.length === 0 || config.engine.length > 0 || config.modelsDir !== undefined) {
    const look = config.look && fronted.length === 0 ? { ports: OLLAMA_PORTS, ollamaHost: config.ollamaHost } : { ports: [] }
    nodes.push({ id: config.node, preference: config.preference, engines: config.engine, look, local: true })
  }
  const steps: ShutdownStep[][] = []
  // The preferred ones first: when a node starts it looks for those that it has to leave jobs to.
  for (const preference of [...new Set(nodes.map((node) => node.preference))].toSorted((a, b) => b - a))
    steps.push(...(await Promise.all(nodes.filter((node) => node.preference === preference).map((node) => startNode({ ...common, ...node })))))
  onShutdown(together(steps), { log })
})

/** The same step of all nodes at once, as each of them has the same ones in the same order. */
const together = ([first = [], ...others]: readonly ShutdownStep[][]): ShutdownStep[] =>
  first.map((step, at) => ({ ...step, run: () => Promise.all([step, ...others.flatMap((steps) => steps[at] ?? [])].map(({ run }) => run())) }))
