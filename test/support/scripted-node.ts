import { openWorker } from '@drover/broker'
import type { HeldModel, Layout, ModelDescription, ModelName, NodeRecord } from '@drover/core'

/** A node in the registry that says of itself what a test wants, and takes no jobs. */
export interface ScriptedNode {
  /** From now on. Resolves when Redis has it; a gateway reads it within a second. */
  says(record: Partial<NodeRecord>): Promise<void>
  /** What its engine says of the model with this digest. */
  describes(digest: string, description: ModelDescription): Promise<void>
  stop(): Promise<void>
}

export const heldModel = (model: string, facts: Partial<HeldModel> = {}): HeldModel => ({
  model: model as ModelName, engineName: model, digest: '5c'.repeat(32), size: 4e9, modifiedAt: '2026-01-02T03:04:05Z', family: 'llama', ...facts,
})

/** What one of its engines says of itself. */
export const heldBy = (layout: Layout, held: readonly HeldModel[], facts: Partial<NodeRecord['engines'][number]> = {}): NodeRecord['engines'][number] => ({
  id: layout === 'cluster' ? 'cluster' : 'llama.cpp', kind: 'llama-server', layout, speaks: [], held: [...held], loaded: [], slotsPerModel: 2, maxLoaded: 1, busy: {}, ...facts,
})

const LIVES_MS = 1_000

export const scriptedNode = async (id: string, redis: { url: string; prefix: string }, first: Partial<NodeRecord> = {}): Promise<ScriptedNode> => {
  const connection = await openWorker(id, { ...redis, onError: (error) => void console.error(error) })
  let record: NodeRecord = { v: 1, id, version: '0', engines: [], labels: {}, preference: 0, draining: false, gpus: [], startedAt: Date.now(), ...first }
  const live = async () => void (await connection.registry.nodeLives(record, connection.instance))
  await live()
  const timer = setInterval(() => void live().catch(() => undefined), LIVES_MS)
  return {
    async says(next) {
      record = { ...record, ...next }
      await live()
    },
    describes: (digest, description) => connection.registry.describe(digest, description),
    async stop() {
      clearInterval(timer)
      await connection.close()
    },
  }
}
