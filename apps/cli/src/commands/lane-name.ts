import type { LaneStatus } from '../gateway-client.ts'

/** A lane among those of its model: its class, and where its jobs are to run if they say so. */
export const laneName = ({ class: name, layout }: Pick<LaneStatus, 'class' | 'layout'>): string =>
  layout === undefined ? name : `${name}, ${layout === 'cluster' ? 'over several nodes' : 'on one node'}`
