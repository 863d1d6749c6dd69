import type { WorkerConnection } from '@drover/broker'
import { slotsFor, WIRE_VERSION, type ModelName, type NodeRecord } from '@drover/core'
import { machineMemory } from '@drover/engines'
import type { Slots } from './slots.ts'

/** A node that runs in the same process. */
export interface Sibling {
  id: string
  preference: number
  slots: Slots
}

export interface HeartbeatOptions {
  connection: WorkerConnection
  slots: Slots
  facts: Pick<NodeRecord, 'id' | 'version' | 'labels' | 'preference' | 'startedAt'>
  /** Whether the engines are on this machine. */
  local: boolean
  gpus(): NodeRecord['gpus']
  draining: AbortSignal
  /** Nodes of this process, this one among them: what they do is known at once, not by their records. */
  siblings: readonly Sibling[]
  /** Who starts this process anew when it has ended, and only then; absent: nobody that is known here. */
  supervisor?: string | undefined
  /** Another living worker has this node's name. */
  onTaken(): void
  onError(error: unknown): void
}

const BEAT_MS = 1_000

/** This node's record in the registry, and what the others say of themselves in theirs. */
export const heartbeat = ({ connection, slots, facts, local, gpus, draining, siblings, supervisor, onTaken, onError }: HeartbeatOptions) => {
  const { registry, instance } = connection
  let peers: NodeRecord[] = []

  const record = (): NodeRecord => ({
    v: WIRE_VERSION,
    ...facts,
    draining: draining.aborted,
    ...(local && { memory: machineMemory() }),
    gpus: gpus(),
    engines: [...slots.seats()].map(({ engine, view, busy }) => ({
      id: engine.id,
      kind: engine.kind,
      ...(view.version !== undefined && { version: view.version }),
      speaks: [...engine.speaks],
      held: view.held,
      loaded: view.loaded,
      slotsPerModel: view.slotsPerModel,
      ...(view.slotsByModel && { slotsByModel: view.slotsByModel }),
      maxLoaded: view.maxLoaded,
      busy: Object.fromEntries(busy),
    })),
  })

  const beat = async () => {
    try {
      if (!(await registry.nodeLives(record(), instance, supervisor))) onTaken()
      if (anyPrefers) peers = (await registry.nodes()).filter(({ id }) => id !== facts.id)
    } catch (error) {
      onError(error)
    }
  }
  /** Peers are read only where a preference is in play: at a thousand nodes that is a lot of reading for nothing. */
  let anyPrefers = false
  const look = async () => {
    const nodes = await registry.nodes().catch(() => [])
    anyPrefers = nodes.some(({ preference }) => preference > facts.preference)
    if (!anyPrefers) peers = []
  }
  const timers: NodeJS.Timeout[] = []

  return {
    /** First word, and the first look at the others. False: the name is taken. */
    async start(): Promise<boolean> {
      if (!(await registry.nodeLives(record(), instance, supervisor))) return false
      await look()
      connection.onReady(() => void beat())
      timers.push(setInterval(() => void beat(), BEAT_MS), setInterval(() => void look(), 10 * BEAT_MS))
      return true
    },
    /** Says now what has changed. Before `start` nothing is said. */
    beat: async () => void (timers.length > 0 && (await beat())),
    /** Best preference among the other nodes with a free slot for the model. */
    peerPreference(model: ModelName): number | undefined {
      let best: number | undefined
      for (const peer of peers) {
        if (peer.draining || peer.preference <= (best ?? facts.preference)) continue
        const free = peer.engines.some(
          (engine) => engine.held.some((held) => held.model === model) && (engine.busy[model] ?? 0) < slotsFor(engine, model),
        )
        if (free && !siblings.some(({ id }) => id === peer.id)) best = peer.preference
      }
      for (const { preference, slots } of siblings) if (preference > (best ?? facts.preference) && slots.isFree(model)) best = preference
      return best
    },
    stop: () => timers.forEach(clearInterval),
  }
}
