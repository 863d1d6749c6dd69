import type { Candidate, PlanRequest } from './plan.ts'
import { CARD_BYTES, coordinatorRoom, layersRoom, LENT_PROGRAM_BYTES } from './room.ts'
import { isOwnProcessor } from './split.ts'

/** A candidate as the planner sees it. */
export interface Device extends Candidate {
  own: boolean
  /** The coordinator's processor is filled first, then its cards, then the rest: llama.cpp leaves the first layers where it runs. */
  group: 0 | 1 | 2
  speed: number
  /** Bytes of it that a part of the model may take. */
  usable: number
  /** Of them, what is taken whatever lies there. */
  overhead: number
}

/** Part of a device's memory that is left free where nobody says otherwise. */
export const HEADROOM = 0.05
const SPEED = { cpu: 1, gpu: 10 }

/** The devices that a plan may use, in the order in which they are preferred. */
export const devicesOf = ({ shape, coordinator, candidates, wish }: PlanRequest): Device[] => {
  const besides = coordinatorRoom(shape, wish)
  const device = (candidate: Candidate): Device => {
    const own = candidate.node === coordinator
    const first = isOwnProcessor(coordinator, candidate)
    return {
      ...candidate,
      own,
      group: first ? 0 : own ? 1 : 2,
      speed: candidate.speed ?? SPEED[candidate.kind],
      usable: Math.floor(candidate.free * (1 - (wish.headroom ?? HEADROOM))) - (first ? besides : 0),
      overhead: (own ? 0 : LENT_PROGRAM_BYTES) + (candidate.kind === 'gpu' ? CARD_BYTES : 0),
    }
  }
  return candidates.map(device).filter(({ own, node }) => own || !wish.nodes || wish.nodes.includes(node)).toSorted(byPreference)
}

/**
 * Bytes of a device that a part of a model takes besides its weights and cache. Whoever is sent layers has the largest tensor
 * twice while it comes, and only then makes room to compute.
 */
export const besidesOn = ({ own, overhead }: Device, { shape, wish }: PlanRequest, alone: boolean): number =>
  overhead + Math.max(layersRoom(shape, wish, alone), own ? 0 : shape.largest)

/** What is not known counts as the worst. */
const byPreference = (a: Device, b: Device): number =>
  Number(b.own) - Number(a.own) ||
  b.speed - a.speed ||
  (a.rttMs ?? Number.MAX_VALUE) - (b.rttMs ?? Number.MAX_VALUE) ||
  (b.bytesPerSecond ?? 0) - (a.bytesPerSecond ?? 0) ||
  b.usable - a.usable ||
  inOrder(a.node, b.node) ||
  inOrder(a.device, b.device)

/** The same on every machine, whatever its language. */
const inOrder = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
