import { expectedTokens, PRIORITY, weightOf, WIRE_VERSION, type Job, type JobId } from '@drover/core'
import { newJobId } from './ids.ts'
import { laneKeys, laneOf, nodeLane, type Keys, type Lane } from './keys.ts'
import { chargeText } from './limit-reached.ts'
import type { Scripts } from './scripts.ts'
import type { Answered, Submission } from './submission.ts'

export interface LaneEntryOptions {
  keys: Keys
  scripts: Scripts
  /** Most jobs that may wait in one lane. */
  laneLimit: number
  /** Most bytes of the living jobs of one lane. */
  laneBytes: number
}

/** A job on its way to its lane. */
export interface Entering {
  lane: Lane
  /** Any number of times: it enters once. */
  send(): Promise<Answered>
}

/** Bodies above this lie beside the job: in BullMQ's data a large one costs every script that touches the job. */
const INLINE_BODY = 10_000
/** The keys of a job outlive its deadline by this, ms. */
const MARGIN_MS = 60_000
/** The lane's keys that a submit needs: what waits, then those of BullMQ's add in its order; then our own. */
const ADD_KEYS = ['wait', 'marker', 'meta', 'id', 'prioritized', 'delayed', 'completed', 'active', 'events', 'pc']
const OWN_KEYS = ['ranks', 'since']

/** How a job enters its lane: what the script is told of it. */
export const laneEntry = ({ keys, scripts, laneLimit, laneBytes }: LaneEntryOptions): ((submission: Submission, id: JobId, follower: string) => Entering) => {
  const added = laneKeys(keys, ADD_KEYS)
  const ours = laneKeys(keys, OWN_KEYS)
  return (submission, id, follower) => {
    const { id: _id, owner, body, requires, node, background = false, timeoutMs, keepMs, hook, mostAhead, mostListed, once, tokens = expectedTokens(body.length), priority = PRIORITY.usual, charged, ...rest } = submission
    const lane = node === undefined ? laneOf(submission.model, submission.class, requires) : nodeLane(node)
    const beside = body.length > INLINE_BODY
    const job: Job = { v: WIRE_VERSION, id, ...rest, body: beside ? { beside: true } : { inline: body } }
    const lists = mostListed === undefined ? [] : [keys.jobsOf(owner), keys.jobs, keys.jobsUntil]
    const { entry, cost } = weightOf(tokens, priority)
    const names = [keys.job(id), keys.body(id), keys.lanes, keys.deadlines, ...added(lane), keys.bytes, ...ours(lane), ...lists]
    const args = [
      id, lane, follower, timeoutMs, beside ? body : '', background ? 1 : 0, submission.stream ? 1 : 0, laneLimit, MARGIN_MS, keys.ofLane(lane, ''), JSON.stringify(job), entry,
      submission.dialect, keepMs ?? '', laneBytes, mostAhead ?? '', owner, hook ?? '', cost, once?.fingerprint ?? '', once ? newJobId() : '', mostListed ?? '', priority,
      chargeText(charged, keys.use(owner), tokens),
    ]
    return { lane, send: () => scripts.submit(names, args) as Promise<Answered> }
  }
}
