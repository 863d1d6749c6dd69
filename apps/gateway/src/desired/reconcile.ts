import type { GatewayConnection } from '@drover/broker'
import type { DesiredState } from '@drover/core'
import type { Log } from '@drover/service'
import type { RegistryView } from '../registry-view.ts'
import { configured } from './configured.ts'
import { perform, type PerformDeps } from './perform.ts'
import { Reconciler } from './reconciler.ts'
import type { DesiredDeps } from './routes.ts'

export interface ReconcileOptions {
  broker: GatewayConnection
  view: RegistryView
  /** This gateway. */
  id: string
  settings: PerformDeps['settings'] & Pick<DesiredDeps['settings'], 'reconcileGraceMs'>
  /** What the configuration describes, if it does. */
  described: DesiredState | undefined
  log: Log
  onError(error: unknown): void
}

/** The gateway's part in keeping models where they are to be. What the configuration says holds from now on, unless it was said before. */
export const reconcile = async ({ broker, view, id, settings, described, log, onError }: ReconcileOptions): Promise<{ reconciler: Reconciler; onDesired: DesiredDeps['onDesired'] }> => {
  const deps = { broker, view, settings }
  const onDesired: DesiredDeps['onDesired'] = (fields) => {
    log.info(fields, 'models described')
    void reconciler.look()
  }
  const describe = configured({
    store: broker.desired,
    state: described,
    onDesired,
    onPutOff: (fields) => log.warn(fields, 'models of the configuration cannot be described yet'),
  })
  const reconciler = new Reconciler({
    id,
    store: broker.desired,
    describe,
    nodes: () => view.nodes,
    refresh: () => view.refresh(),
    silentFor: () => broker.registry.silentFor(),
    heardMs: () => broker.upMs,
    mayJudge: () => broker.up && broker.mayJudge,
    graceMs: settings.reconcileGraceMs,
    perform: (change, how) => perform(deps, change, how),
    onDone: (fields) => log.info(fields, 'models changed as described'),
    onFailed: (fields) => log.warn(fields, 'models could not be changed as described'),
    onError,
  })
  await describe()
  return { reconciler, onDesired }
}
