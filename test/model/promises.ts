import { strict as assert } from 'node:assert'
import type { Picture, SeenJob } from './real.ts'
import { MOST_STARTS, ordered, type Entry, type Model } from './model.ts'

/** What was seen of a history until now, as far as Redis has not been made to forget it. Taken from answers and from Redis alone. */
export class Witness {
  /** The first record seen of each job. */
  records = new Map<string, string>()
  /** For each job, what accepted appends said: frames in their order, as JSON texts. */
  said = new Map<string, string[]>()
  /** For each lease token: its attempt, and the number of the next frame when it began. */
  begun = new Map<string, { job: string; attempt: number; next: number }>()

  copy(): Witness {
    const copy = new Witness()
    copy.records = new Map(this.records)
    copy.said = new Map([...this.said].map(([id, frames]) => [id, [...frames]]))
    copy.begun = new Map(this.begun)
    return copy
  }

  /** An append was answered `ok`: either it said something new, from the next number on, or it repeated. Behind a record nothing is new. */
  accepted(id: string, first: number, frames: readonly unknown[]): void {
    const said = this.said.get(id) ?? []
    if (this.records.has(id) || said.at(-1)?.includes('"end"')) return
    if (first + frames.length - 1 <= said.length) return
    assert.equal(first, said.length + 1, `${id}: an append from frame ${first} was accepted behind ${said.length} frames`)
    this.said.set(id, [...said, ...frames.map((frame) => JSON.stringify(frame))])
  }

  forget(id: string): void {
    this.records.delete(id)
    this.said.delete(id)
  }
}

/** Everything that a reader of this job can have. */
const entriesOf = ({ fields, log }: SeenJob): Entry[] => (fields['tail'] === undefined ? log : [[1, fields['rtok'] ?? '', fields['tail']]])

const isOnce = (lists: string[][], id: string) => lists.flat().filter((each) => each === id).length

/** What must hold after every step, whatever the model says. @throws AssertionError */
export const keepsPromises = (picture: Picture, witness: Witness): void => {
  for (const [id, job] of Object.entries(picture.jobs)) {
    const { fields } = job
    const lane = picture.lanes[fields['lane']!]!
    const entries = entriesOf(job)

    // One record, never changed.
    const record = fields['rec']
    const before = witness.records.get(id)
    if (before !== undefined) assert.equal(record, before, `${id}: the record has changed`)
    if (record !== undefined) witness.records.set(id, record)

    // Numbers without gap or repeat; what stands there is what was accepted, then at most the end that came from outside.
    const frames: string[] = []
    for (const [first, token, text] of entries) {
      assert.equal(first, frames.length + 1, `${id}: frame ${first} stands behind ${frames.length} frames`)
      // Nothing of attempt n behind the beginning of attempt n + 1.
      const mine = witness.begun.get(token)
      for (const [other, { job, attempt, next }] of witness.begun)
        if (mine && job === id && other !== token && attempt > mine.attempt && next <= first)
          assert.fail(`${id}: frame ${first} of attempt ${mine.attempt} became visible after attempt ${attempt} had begun`)
      frames.push(...(JSON.parse(text) as unknown[]).map((frame) => JSON.stringify(frame)))
    }
    assert.equal(Number(fields['next'] ?? 1), frames.length + 1, `${id}: the next number is not that of the next frame`)
    const said = witness.said.get(id) ?? []
    const outside = record !== undefined && fields['rtok'] === undefined
    assert.deepEqual(frames.slice(0, outside ? -1 : undefined), said, `${id}: the log is not what accepted appends said`)
    const ends = frames.filter((frame) => frame.includes('"end"'))
    assert.deepEqual(ends.length, record === undefined ? 0 : 1, `${id}: ${ends.length} end frames`)
    if (record !== undefined) assert.deepEqual((JSON.parse(frames.at(-1)!) as { end: unknown }).end, JSON.parse(record), `${id}: the last frame is not the record`)

    // Its end is told once, if it is to be told, and not before.
    const told = picture.events.filter((event) => event.split(' ')[3] === id)
    assert.equal(told.length, record !== undefined && fields['hook'] !== undefined ? 1 : 0, `${id}: its end is told ${told.length} times`)

    // Waiting once or active once; an ended job may wait to be tidied up, but once.
    const places = isOnce([lane.prioritized, lane.wait, lane.active], id)
    if (record === undefined) assert.equal(places, 1, `${id}: a living job is in ${places} places of its lane`)
    else assert.ok(places <= 1, `${id}: an ended job is in ${places} places of its lane`)
    for (const [name, other] of Object.entries(picture.lanes))
      if (name !== fields['lane']) assert.equal(isOnce([other.prioritized, other.wait, other.active], id), 0, `${id}: in a lane that is not its own`)
    if (record === undefined) assert.ok(picture.known[id] !== undefined, `${id}: BullMQ does not know a living job`)

    // Whoever asks how long a job has waited is told of each that waits, and of none that does not.
    const since = lane.since[id]
    if (record !== undefined || fields['tok'] !== undefined) assert.ok(since === undefined || (record === undefined && !lane.active.includes(id)), `${id}: counts as waiting`)
    else if (lane.prioritized.includes(id)) assert.equal(since, Number(fields['at']), `${id}: does not count as waiting since it was submitted`)

    const starts = Number(fields['starts'] ?? 0)
    assert.ok(starts >= 0 && starts <= MOST_STARTS, `${id}: ${starts} counted starts`)
  }
  const living = Object.keys(picture.jobs).filter((id) => picture.jobs[id]!.fields['rec'] === undefined)
  for (const lane of Object.keys(picture.lanes)) {
    const sizes = living.map((id) => picture.jobs[id]!.fields).map(({ lane: its, size }) => (its === lane ? Number(size) : 0))
    assert.equal(picture.bytes[lane] ?? 0, sizes.reduce((sum, size) => sum + size, 0), `${lane}: the sum of its bytes is not that of its living jobs`)
  }
  assert.deepEqual(picture.deadlines, living.toSorted(), 'the deadlines are not those of the living jobs')
}

const defined = (fields: Record<string, string | number | undefined>) =>
  Object.fromEntries(Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])))

/** Fields of the hash that the model knows. */
const MODELLED = new Set(['lane', 'own', 'fol', 'bg', 'st', 'att', 'starts', 'tok', 'node', 'gave', 'next', 'tail', 'rec', 'rtok', 'err', 'hook', 'fp', 'sub'])

/** @throws AssertionError when Redis does not hold what the model says */
export const agrees = (picture: Picture, { state }: Model): void => {
  const jobs = Object.fromEntries(
    Object.entries(picture.jobs).map(([id, { fields, log, beside }]) => [
      id,
      { fields: Object.fromEntries(Object.entries(fields).filter(([name]) => MODELLED.has(name))), log, beside },
    ]),
  )
  const expected = Object.fromEntries(
    Object.entries(state.jobs).map(([id, job]) => [
      id,
      {
        fields: defined({
          lane: job.lane,
          own: job.owner,
          fol: job.followers.map((gateway) => `${gateway} `).join(''),
          bg: job.background ? 1 : 0,
          st: job.streamed ? 1 : 0,
          att: job.attempt || undefined,
          starts: job.attempt === 0 ? undefined : job.starts,
          tok: job.token,
          node: job.node,
          gave: job.gave,
          next: job.next === 1 ? undefined : job.next,
          tail: job.tail,
          rec: job.record,
          rtok: job.writer,
          err: job.error || undefined,
          hook: job.hook || undefined,
          fp: job.print || undefined,
          sub: job.by || undefined,
        }),
        log: job.log,
        beside: job.beside,
      },
    ]),
  )
  assert.deepEqual(jobs, expected, 'the jobs')
  const lanes = Object.fromEntries(
    Object.entries(state.lanes).map(([name, { prioritized, wait, active, stalled, ranks, since }]) => [
      name,
      {
        prioritized: ordered(prioritized).map(({ id }) => id),
        wait,
        active,
        stalled: stalled.toSorted(),
        ranks,
        since: since.toSorted(),
      },
    ]),
  )
  const seen = Object.fromEntries(Object.entries(picture.lanes).map(([name, lane]) => [name, { ...lane, since: Object.keys(lane.since).toSorted() }]))
  assert.deepEqual(seen, lanes, 'the lanes')
  assert.deepEqual(picture.events, state.events, 'the events')
  assert.deepEqual(picture.locks, state.locks, 'the locks')
  assert.deepEqual(picture.known, state.known, 'the jobs that BullMQ knows, and their ranks')
}
