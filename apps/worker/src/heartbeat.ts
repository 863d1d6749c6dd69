import { setTimeout as sleep } from 'node:timers/promises'
import type { WorkerConnection } from '@drover/broker'
import { meets, slotsFor, WIRE_VERSION, type EngineRecord, type ModelName, type NodeRecord, type QuarantineRecord, type Requirements } from '@drover/core'
import { machineMemory, type Engine, type EngineView } from '@drover/engines'
import type { Continuations } from './continuations.ts'
import type { Slots } from './slots.ts'

/** A node that runs in the same process. */
export interface Sibling {
  id: string
  preference: number
  slots: Slots
  /** It takes no jobs just now. */
  draining(): boolean
}

export interface HeartbeatOptions {
  connection: WorkerConnection
  slots: Slots
  continues: Continuations['continues']
  facts: Pick<NodeRecord, 'id' | 'version' | 'labels' | 'preference' | 'startedAt'>
  /** Whether the engines are on this machine. */
  local: boolean
  gpus(): NodeRecord['gpus']
  /** What this node lends; absent: nothing. */
  lending(): NodeRecord['lending']
  /** Models over several nodes that this one coordinates, and those that it could if there were memory. */
  coordinating(): Pick<NodeRecord, 'clusters' | 'shortOf' | 'coordinates'>
  /** Where others get its model files. */
  copies(): Pick<NodeRecord, 'copies' | 'disk'>
  /** No jobs are taken just now. */
  draining(): boolean
  /** Nodes of this process, this one among them: what they do is known at once, not by their records. */
  siblings: readonly Sibling[]
  /** Who starts this process anew when it has ended, and only then; absent: nobody that is known here. */
  supervisor?: string | undefined
  /** Somebody wants this node to be drained, or no longer. Told once for each change, before jobs are taken for the first time. */
  onDrain(wanted: boolean): void
  /** Another living worker has this node's name. */
  onTaken(): void
  onError(error: unknown): void
}

const BEAT_MS = 1_000
/** Longest that a question about the others may take, ms. */
const OTHERS_MS = 300

/** This node's record in the registry, and what the others say of themselves in theirs. */
export const heartbeat = ({ connection, slots, continues, facts, local, gpus, lending, coordinating, copies, draining, siblings, supervisor, onDrain, onTaken, onError }: HeartbeatOptions) => {
  const { registry, instance } = connection
  let peers: NodeRecord[] = []

  const record = (): NodeRecord => ({
    v: WIRE_VERSION,
    ...facts,
    draining: draining(),
    ...(local && { memory: machineMemory() }),
    gpus: gpus(),
    preempted: slots.preempted,
    changesModels: true,
    ...copies(),
    lending: draining() ? undefined : lending(),
    ...coordinating(),
    engines: [...slots.seats()].filter(isOfUse).map(({ engine, view, busy }) => ({
      id: engine.id,
      kind: engine.kind,
      ...(engine.layout && { layout: engine.layout }),
      ...(view.version !== undefined && { version: view.version }),
      ...(engine.only && { only: [...engine.only] }),
      speaks: [...engine.speaks],
      held: view.held.map((held) => ({ ...held, continues: continues(engine, held) })),
      loaded: view.loaded,
      slotsPerModel: view.slotsPerModel,
      ...(view.slotsByModel && { slotsByModel: view.slotsByModel }),
      maxLoaded: view.maxLoaded,
      busy: Object.fromEntries(busy),
      ...present(slots.quarantined(engine)),
    })),
  })

  let drained = false
  /** One sign of life. False: the name is taken. */
  const live = async (): Promise<boolean> => {
    const told = await registry.nodeLives(record(), instance, supervisor)
    if (told === 'taken') return false
    if (drained === (told === 'drain')) return true
    drained = !drained
    onDrain(drained)
    // What was just said of ourselves no longer holds.
    return live()
  }

  const beat = async () => {
    try {
      if (!(await live())) onTaken()
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
      if (!(await live())) return false
      await look()
      connection.onReady(() => void beat())
      connection.onBeatWanted(() => void beat())
      timers.push(setInterval(() => void beat(), BEAT_MS), setInterval(() => void look(), 10 * BEAT_MS))
      return true
    },
    /** Says now what has changed. Before `start` nothing is said. */
    beat: async () => void (timers.length > 0 && (await beat())),
    /** Best preference among the other nodes with a free slot for the model on an engine that is required. */
    peerPreference(model: ModelName, required: Requirements): number | undefined {
      let best: number | undefined
      for (const peer of peers) {
        if (peer.draining || peer.preference <= (best ?? facts.preference)) continue
        const free = peer.engines.some((engine) => serves(engine, model, required) && hasRoom(engine, model))
        if (free && !siblings.some(({ id }) => id === peer.id)) best = peer.preference
      }
      for (const sibling of siblings) if (sibling.preference > (best ?? facts.preference) && !sibling.draining() && sibling.slots.isFree(model, required)) best = sibling.preference
      return best
    },
    /** Whether other nodes could run a job of a model on an engine that is required: `free` with a slot for it now, `busy` later. */
    async others(model: ModelName, required: Requirements): Promise<'free' | 'busy' | 'none'> {
      // Asked for when something has failed, which must not wait for a Redis that is away, too.
      const nodes = await Promise.race([registry.nodes().catch(() => []), sleep(OTHERS_MS, [], { ref: false })])
      const engines = nodes.flatMap((node) => (node.id === facts.id || node.draining ? [] : node.engines)).filter((engine) => serves(engine, model, required))
      return engines.length === 0 ? 'none' : engines.some((engine) => hasRoom(engine, model)) ? 'free' : 'busy'
    },
    stop: () => timers.forEach(clearInterval),
  }
}

/** While nobody lends there are no models over several nodes to speak of. */
const isOfUse = ({ engine, view }: { engine: Engine; view: EngineView }): boolean => engine.layout !== 'cluster' || view.held.length > 0

const serves = ({ held, quarantined = [], ...engine }: EngineRecord, model: ModelName, required: Requirements): boolean =>
  held.some((each) => each.model === model && meets(engine, each, required)) && !quarantined.some((each) => each.model === undefined || each.model === model)

const hasRoom = (engine: EngineRecord, model: ModelName): boolean => (engine.busy[model] ?? 0) < slotsFor(engine, model)

const present = (quarantined: QuarantineRecord[]) => (quarantined.length > 0 ? { quarantined } : {})
