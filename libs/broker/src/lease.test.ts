import type { Frame, Job } from '@drover/core'
import { expect, test } from 'vitest'
import { Lease, type LeaseActions } from './lease.ts'
import type { Lane } from './keys.ts'

/** A lease whose frames are sent by hand. */
const byHand = () => {
  const reclaimed: Lease[] = []
  const actions = {
    appender: { push: () => undefined, drop: () => undefined },
    reclaim: (lease: Lease) => void reclaimed.push(lease),
    over: () => undefined,
    finish: () => undefined,
  } as unknown as LeaseActions
  const lease = new Lease({ job: {} as Job, lane: 'm' as Lane, token: 't', attempt: 1, next: 1, remainingMs: 1, body: '', node: 'n', lastStart: false, returned: 0 }, actions)
  const send = (text = ''): Frame[] => {
    lease.append(text)
    lease.sending = lease.cut(1_000)
    return lease.sending
  }
  const answer = (answered: 'ok' | string | number): void => {
    const batch = lease.sending ?? []
    lease.sending = undefined
    if (answered === 'ok') lease.stored(batch)
    else lease.refused(answered, batch)
  }
  return { lease, send, answer, reclaimed }
}

/** What a Redis that has forgotten all of it is sent, in order. */
const again = ({ lease, send, answer }: ReturnType<typeof byHand>): { first: number; text: string }[] => {
  const sent: { first: number; text: string }[] = []
  while (lease.pending) {
    const first = lease.next
    for (const [i, { text = '' }] of send().entries()) sent.push({ first: first + i, text })
    answer('ok')
  }
  return sent
}

for (const late of ['behind', 'gone', 1, 'ok'])
  test(`what a killed Redis has forgotten is sent again in order, and what was under way behind it (answered ${late})`, () => {
    const hand = byHand()
    hand.send('one ')
    hand.answer('ok')
    hand.send('two ')
    // The attempt is had again before the answer to the second call comes.
    expect(hand.lease.rewind(1)).toBe(true)
    hand.lease.append('three')
    hand.answer(late)
    expect(hand.reclaimed).toEqual([])
    expect(again(hand)).toEqual([{ first: 1, text: 'one ' }, { first: 2, text: 'two ' }, { first: 3, text: 'three' }])
  })

test('forgotten twice while one call is under way, each frame is sent once more', () => {
  const hand = byHand()
  hand.send('one ')
  hand.answer('ok')
  hand.send('two ')
  expect(hand.lease.rewind(1)).toBe(true)
  expect(hand.lease.rewind(1)).toBe(true)
  hand.answer('gone')
  expect(again(hand)).toEqual([{ first: 1, text: 'one ' }, { first: 2, text: 'two ' }])
})

test('the answer that comes first has the attempt reclaimed, and the order is the same', () => {
  const hand = byHand()
  hand.send('one ')
  hand.answer('ok')
  hand.send('two ')
  hand.answer('behind')
  expect(hand.reclaimed).toHaveLength(1)
  expect(hand.lease.rewind(1)).toBe(true)
  expect(again(hand)).toEqual([{ first: 1, text: 'one ' }, { first: 2, text: 'two ' }])
})
