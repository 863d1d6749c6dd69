import { EngineConfig } from '@drover/engines'
import { z } from 'zod'
import { fromJson } from './from-json.ts'

/** An engine on another machine that this worker fronts as a node of its own. */
export interface FrontedNode {
  id: string
  /** Lower goes first. */
  priority: number
  engine: EngineConfig
}

/** What other systems' configurations give as an endpoint: with a path of some API behind it, or without the scheme. */
const address = (text: string): string => {
  const url = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`
  return url.replace(/\/+$/, '').replace(/\/(api|v1)(\/[\w/-]*)?$/, '')
}

/** As it may stand in keys and headers. */
const idOf = (name: string): string => name.trim().replaceAll(/[^\w.-]+/g, '-').slice(0, 64)

const nodeOf = (name: string, priority: number, engine: object, context: z.RefinementCtx): FrontedNode => {
  const id = idOf(name)
  const read = EngineConfig.safeParse(engine)
  if (id === '') context.addIssue({ code: 'custom', message: `"${name}" cannot be a node's name` })
  for (const { path, message } of read.error?.issues ?? []) context.addIssue({ code: 'custom', message: `${name}: ${[...path, message].join(' ')}` })
  return { id, priority, engine: read.data ?? { url: '' } }
}

const unique = (nodes: FrontedNode[], context: z.RefinementCtx): FrontedNode[] => {
  const twice = nodes.find(({ id }, at) => nodes.findIndex((node) => node.id === id) !== at)
  if (twice) context.addIssue({ code: 'custom', message: `two nodes would be called ${twice.id}` })
  return nodes
}

const Hardware = z.record(
  z.string(),
  z.looseObject({
    url: z.string(),
    priority: z.number().default(0),
    /** Only these are used of what the engine holds; all when absent or empty. */
    models: z.array(z.string()).default([]),
    slots: z.int().optional(),
    apiKey: z.string().optional(),
  }),
)

/** `CLUSTER_HARDWARE`: an object, a node's name to `{url, priority, models[]}`, or its JSON text. */
export const ClusterHardware = z.preprocess(fromJson, Hardware).transform((nodes, context) =>
  unique(
    Object.entries(nodes).map(([name, { url, priority, models, slots, apiKey }]) => {
      const engine = { url: address(url), ...(models.length > 0 && { models }), ...(slots !== undefined && { slots }), ...(apiKey !== undefined && { apiKey }) }
      return nodeOf(name, priority, engine, context)
    }),
    context,
  ),
)

/** `INFERENCE_SERVERS`: a list of endpoints; each is a node, called after its host and port. */
export const InferenceServers = z.array(z.string()).transform((urls, context) =>
  unique(
    [...new Set(urls.map(address))].map((url) => nodeOf(URL.canParse(url) ? new URL(url).host.replace(':', '-') : url, 0, { url }, context)),
    context,
  ),
)

/** Both together: an engine that stands in both is the one that says more. */
export const frontedNodes = (hardware: readonly FrontedNode[], servers: readonly FrontedNode[]): FrontedNode[] => {
  const known = new Set(hardware.map(({ engine }) => engine.url))
  return [...hardware, ...servers.filter(({ engine }) => !known.has(engine.url))]
}
