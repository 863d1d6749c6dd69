import { slotsFor, type LoadedModel } from '@drover/core'
import { readLane, type GatewayConnection } from '@drover/broker'
import { clusterStatus } from './olol.ts'
import type { RegistryView } from './registry-view.ts'

const inMemory = (loaded: LoadedModel | undefined) => ({
  loaded: loaded !== undefined,
  ...(loaded && {
    memory: {
      size: loaded.size,
      size_vram: loaded.sizeVram,
      ...(loaded.expiresAt !== undefined && { expires_at: loaded.expiresAt }),
      ...(loaded.contextLength !== undefined && { context_length: loaded.contextLength }),
    },
  }),
})

export interface StatusSources {
  broker: GatewayConnection
  view: RegistryView
  gateway: { id: string; version: string; startedAt: number; open(): number }
}

/** Everything that an operator asks first: nodes, what they hold and do, lanes and how long their heads have waited. */
export const status = async ({ broker, view, gateway }: StatusSources) => {
  const [lanes, silent] = await Promise.all([broker.depths(), broker.registry.silentFor()])
  return {
    // Ollama's own answer on this route, for clients that read it.
    cloud: { disabled: true, source: 'none' },
    ...clusterStatus(view),
    version: gateway.version,
    gateway: { id: gateway.id, uptime_s: Math.round((Date.now() - gateway.startedAt) / 1000), open_answers: gateway.open(), following: broker.jobs.following },
    redis: { version: broker.facts.version, append_only: broker.facts.appendOnly, evicts: broker.facts.evicts },
    nodes: view.nodes.map((node) => ({
      id: node.id,
      version: node.version,
      draining: node.draining,
      preference: node.preference,
      labels: node.labels,
      memory: node.memory,
      gpus: node.gpus,
      ...(silent.has(node.id) && { last_seen_ms: silent.get(node.id) }),
      engines: node.engines.map((engine) => ({
        id: engine.id,
        kind: engine.kind,
        ...(engine.version !== undefined && { version: engine.version }),
        models: engine.held.map(({ model, size, digest, quantization, contextLength, capabilities }) => ({
          model,
          size,
          digest,
          ...(quantization !== undefined && { quantization }),
          ...(contextLength !== undefined && { context_length: contextLength }),
          ...(capabilities && { capabilities }),
          ...inMemory(engine.loaded.find((loaded) => loaded.model === model)),
          slots: slotsFor(engine, model),
          busy: engine.busy[model] ?? 0,
        })),
      })),
    })),
    lanes: lanes.map(({ lane, waiting, headAge, running }) => ({ ...readLane(lane), waiting, head_age_ms: headAge, running })),
    models: [...view.holders].map(([model, holders]) => ({ model, nodes: [...new Set(holders.map(({ node }) => node.id))] })),
  }
}
