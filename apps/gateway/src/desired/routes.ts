import type { GatewayConnection, KeptState } from '@drover/broker'
import { BrokerError, DesiredState, writtenOf, type ModelName } from '@drover/core'
import type { Context, Hono } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { checkedJson } from '../checked.ts'
import { native, type NativeDeps } from '../native.ts'
import type { RegistryView } from '../registry-view.ts'
import { NOTHING, shownState } from './shown.ts'

export interface DesiredDeps extends NativeDeps {
  broker: { desired: Pick<GatewayConnection['desired'], 'read' | 'put'>; registry: Pick<GatewayConnection['registry'], 'silentFor'>; readonly upMs: number }
  view: RegistryView
  settings: NativeDeps['settings'] & { reconcileGraceMs: number }
  /** Another state is described: what is to be done is looked at now. */
  onDesired(fields: { version: number; models: number; by: 'request' | 'configuration' }): void
}

const PATH = '/api/models/desired'
/** A state is read every two seconds: it is no larger than this, bytes of its JSON text. */
const MOST_BYTES = 1024 ** 2

/** @throws BrokerError `forbidden`: the state is of all models, and a key that may use some would take the others out of it */
const mayChange = (c: Context<GatewayEnv>): void => {
  if (c.get('caller').allowsModel) throw new BrokerError('forbidden', 'this API key may use some models only, and the desired state is of all')
}

/** `/api/models/desired`: which models are to be where. */
export const desiredRoutes = (app: Hono<GatewayEnv>, deps: DesiredDeps): void => {
  const shown = async (kept: KeptState, c: Context<GatewayEnv>): Promise<Response> => {
    const { broker, view, settings } = deps
    await view.refresh()
    const silent = await broker.registry.silentFor()
    return c.json(shownState(kept, { nodes: view.nodes, silent, heardMs: broker.upMs, graceMs: settings.reconcileGraceMs, allows: c.get('caller').allowsModel }))
  }

  const describe = async (state: DesiredState, c: Context<GatewayEnv>): Promise<Response> => {
    const { broker, onDesired } = deps
    mayChange(c)
    const written = writtenOf(state)
    if (JSON.stringify(written).length > MOST_BYTES) throw new BrokerError('body_too_large', 'a desired state is no larger than 1 MiB')
    const before = (await broker.desired.read()) ?? NOTHING
    if (c.req.query('dry_run') === 'true') return shown({ ...before, state }, c)
    const { version, changed } = await broker.desired.put(written)
    if (changed) onDesired({ version, models: state.models.size, by: 'request' })
    return shown((await broker.desired.read()) ?? NOTHING, c)
  }

  app.get(PATH, native(deps, async (_body, c) => shown((await deps.broker.desired.read()) ?? NOTHING, c)))
  app.put(PATH, native(deps, (body, c) => describe(checkedJson(DesiredState, body), c)))
  app.delete(PATH, native(deps, (_body, c) => describe({ models: new Map<ModelName, never>(), prune: false }, c)))
}
