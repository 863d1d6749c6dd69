import type { Change, ModelWork } from '@drover/core'
import type { Progress } from '@drover/dialects'
import { workOnNodes, type FleetDeps } from '../models/fleet-work.ts'

export interface PerformDeps extends FleetDeps {
  settings: { timeoutMs: number; modelTimeoutMs: number }
}

const FOR_EVER = '-1'

const workOf = (change: Change): ModelWork => {
  const { model } = change
  switch (change.action) {
    case 'pull':
      return { call: 'pull', model: change.written, insecure: false }
    case 'delete':
      return { call: 'delete', model }
    case 'load':
      return { call: 'load', model, keepAlive: change.keepAlive ?? FOR_EVER, ...(change.numCtx !== undefined && { numCtx: change.numCtx }) }
    case 'unload':
      return { call: 'unload', model }
    default:
      return change satisfies never
  }
}

/** Does one change, as the routes for models do it: a pull that somebody has begun on that node is joined. @throws BrokerError why it was not done */
export const perform = async (deps: PerformDeps, change: Change, { signal, onLine }: { signal: AbortSignal; onLine(line: Progress): void }): Promise<void> => {
  const { broker, view, settings } = deps
  const { action, model, node } = change
  const timeoutMs = action === 'pull' ? settings.modelTimeoutMs : settings.timeoutMs
  const claim = async () => (await broker.pulls.claim({ model, insecure: false, nodes: [node], most: 1, timeoutMs }))[0]
  const first = action === 'pull' ? await claim() : { node }
  const { failed } = await workOnNodes(deps, { work: workOf(change), model, on: first ? [first] : [], timeoutMs, ...(action === 'pull' && { again: claim }), signal, onLine })
  await view.refreshAnew()
  if (failed[0]) throw failed[0].error
}
