import type { KeptState } from '@drover/broker'
import { changesTo, DesiredState, NO_MEMORY, writtenOf, type ModelName } from '@drover/core'
import { fleetOf, type FleetSources } from './fleet.ts'

const time = (ms: number): string => new Date(ms).toISOString()

/** Nobody has described anything. */
export const NOTHING: KeptState = { version: 0, state: DesiredState.parse({}), at: 0, memory: NO_MEMORY }

export interface ShownOptions extends Pick<FleetSources, 'nodes' | 'silent' | 'heardMs' | 'graceMs'> {
  /** Models of which the caller is told; absent: all. */
  allows?: ((model: string) => boolean) | undefined
}

/** What is described, what is not so yet, and what is being done about it. */
export const shownState = ({ version, state, at, memory, report }: KeptState, { nodes, silent, heardMs, graceMs, allows = () => true }: ShownOptions) => {
  const told = <T extends { model: string }>(all: readonly T[] = []): T[] => all.filter(({ model }) => allows(model))
  const held = report?.failures.filter(({ action, nextAt }) => action === 'pull' && nextAt > Date.now()) ?? []
  const failing = (node: string) => new Set(held.filter((each) => each.node === node).map(({ model }) => model as ModelName))
  const { actions, drift } = changesTo({ desired: state, nodes: fleetOf({ nodes, silent, heardMs, graceMs, memory, failing }), memory })
  const models = new Map([...state.models].filter(([model]) => allows(model)))
  return {
    version,
    applied_at: version === 0 ? null : time(at),
    desired: writtenOf({ ...state, models }),
    fulfilled: told(drift).length === 0,
    drift: told(drift),
    planned: told(actions).map(({ action, model, node }) => ({ action, model, node })),
    actions: told(report?.running).map(({ since, ...action }) => ({ ...action, since: time(since) })),
    // What has failed in one place and was done in another is no trouble any more.
    failures: told(report?.failures).filter(({ model }) => drift.some((each) => each.model === model)).map(({ nextAt, ...failure }) => ({ ...failure, next_try_at: time(nextAt) })),
    gateway: report?.gateway ?? null,
    looked_at: report ? time(report.at) : null,
  }
}
