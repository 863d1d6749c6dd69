import { slotsFor, type Caller, type EngineRecord, type ModelName, type NodeRecord } from '@drover/core'
import { readLane, shownLane, type GatewayConnection } from '@drover/broker'
import type { Admission } from './admission.ts'
import { wholeMemory } from './clusters/memory.ts'
import { shortfall } from './clusters/shortfall.ts'
import { distributedInference } from './clusters/shown.ts'
import type { OnDemand } from './models/on-demand.ts'
import { clusterStatus } from './olol.ts'
import type { View } from './registry-view.ts'

const inMemory = (node: NodeRecord, engine: EngineRecord, model: ModelName) => {
  const loaded = engine.loaded.find((each) => each.model === model)
  if (!loaded) return { loaded: false }
  const { size, sizeVram, expiresAt, contextLength } = wholeMemory(node, engine, loaded)
  return {
    loaded: true,
    memory: { size, size_vram: sizeVram, ...(expiresAt !== undefined && { expires_at: expiresAt }), ...(contextLength !== undefined && { context_length: contextLength }) },
  }
}

export interface StatusSources {
  broker: GatewayConnection
  view: View
  admission: Admission
  onDemand?: OnDemand | undefined
  gateway: { id: string; version: string; startedAt: number; open(): number }
}

/** The living nodes: what they hold and do. `draining`: takes no jobs now; `drained`: because somebody wants it so, and until that ends. */
export const nodesStatus = async ({ broker, view }: Pick<StatusSources, 'broker' | 'view'>) => {
  const [silent, drained] = await Promise.all([broker.registry.silentFor(), broker.registry.drained()])
  return view.nodes.map((node) => ({
    id: node.id,
    version: node.version,
    draining: node.draining,
    drained: drained.has(node.id),
    preference: node.preference,
    labels: node.labels,
    memory: node.memory,
    gpus: node.gpus,
    ...(silent.has(node.id) && { last_seen_ms: silent.get(node.id) }),
    engines: node.engines.map((engine) => ({
      id: engine.id,
      kind: engine.kind,
      ...(engine.layout && { layout: engine.layout }),
      ...(engine.version !== undefined && { version: engine.version }),
      ...(engine.quarantined && { quarantined: engine.quarantined.map(({ model, forMs, failures }) => ({ ...(model !== undefined && { model }), for_ms: forMs, failures })) }),
      models: engine.held.map(({ model, size, digest, quantization, contextLength, capabilities, continues, onlyAsked }) => ({
        model,
        size,
        digest,
        ...(quantization !== undefined && { quantization }),
        ...(contextLength !== undefined && { context_length: contextLength }),
        ...(capabilities && { capabilities }),
        ...(continues && { continues }),
        ...(onlyAsked && { only_asked: true }),
        ...inMemory(node, engine, model),
        slots: slotsFor(engine, model),
        busy: engine.busy[model] ?? 0,
      })),
    })),
  }))
}

const rounded = (value: number | undefined): number | null => (value === undefined ? null : Math.round(value))

/** Everything that an operator asks first: nodes, what they hold and do, lanes and how long their heads have waited. */
export const status = async ({ broker, view, admission, onDemand, gateway }: StatusSources, { allowsModel = () => true }: Pick<Caller, 'allowsModel'>) => {
  const [all, nodes] = await Promise.all([broker.depths(), nodesStatus({ broker, view })])
  const lanes = all.filter(({ lane }) => allowsModel(shownLane(lane).model))
  return {
    // Ollama's own answer on this route, for clients that read it.
    cloud: { disabled: true, source: 'none' },
    ...clusterStatus(view),
    version: gateway.version,
    gateway: { id: gateway.id, uptime_s: Math.round((Date.now() - gateway.startedAt) / 1000), open_answers: gateway.open(), following: broker.jobs.following },
    redis: { version: broker.facts.version, append_only: broker.facts.appendOnly, evicts: broker.facts.evicts, memory_used: admission.memory.use.used, memory_limit: admission.memory.use.limit ?? null, memory_full: admission.memory.full },
    nodes,
    lanes: lanes.map(({ lane, waiting, headAge, running, bytes }) => {
      const short = waiting > 0 ? shortfall(view, readLane(lane)) : undefined
      const brought = waiting > 0 ? onDemand?.progress(readLane(lane).model) : undefined
      const waitMs = short === undefined && brought === undefined ? admission.expectedWaitMs(lane, { waiting, running }) : undefined
      return { ...shownLane(lane), waiting, head_age_ms: headAge, running, bytes, expected_wait_ms: rounded(waitMs), ...(short !== undefined && { short_of: short }), ...(brought !== undefined && { being_brought: brought }) }
    }),
    distributed_inference: distributedInference(view),
    models: [...view.holders].map(([model, holders]) => ({ model, nodes: [...new Set(holders.map(({ node }) => node.id))] })),
  }
}
