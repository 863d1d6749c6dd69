import { expect, test } from 'vitest'
import { Tickets, ticketsOf } from './tickets.ts'

const tickets = new Tickets('secret')
const VISIT = { node: 'n1', method: 'GET', path: '/files/1' }

test('a ticket is good for its own request, within minutes, and for those who know the secret', () => {
  const ticket = tickets.ticket(VISIT, 1_000_000)
  expect(tickets.admits(ticket, VISIT, 1_000_000)).toBe(true)
  expect(tickets.admits(ticket, VISIT, 1_000_000 + 9 * 60_000)).toBe(true)
  // Clocks differ.
  expect(tickets.admits(ticket, VISIT, 1_000_000 - 9 * 60_000)).toBe(true)
  for (const now of [1_000_000 + 11 * 60_000, 1_000_000 - 11 * 60_000]) expect(tickets.admits(ticket, VISIT, now)).toBe(false)
  for (const other of [{ node: 'n2' }, { method: 'PUT' }, { path: '/files/2' }]) expect(tickets.admits(ticket, { ...VISIT, ...other }, 1_000_000)).toBe(false)
  expect(new Tickets('other').admits(ticket, VISIT, 1_000_000)).toBe(false)
})

test('what is no ticket, or is one that was changed, is none', () => {
  const ticket = tickets.ticket(VISIT)
  const [until = '', mark = ''] = ticket.split('.')
  for (const text of ['', '.', until, mark, `${Number(until) + 1}.${mark}`, `${until}.${mark.slice(1)}`, `${until}.`, `1e12.${mark}`, `NaN.${mark}`, `${until}.${mark.toLowerCase()}x`])
    expect(tickets.admits(text, VISIT), text).toBe(false)
})

test('a seal is of one text, as the answer to one ticket', () => {
  const ticket = tickets.ticket(VISIT)
  const seal = tickets.seal(ticket, 'text')
  expect(tickets.isSealed(ticket, 'text', seal)).toBe(true)
  expect(tickets.isSealed(ticket, 'texts', seal)).toBe(false)
  expect(tickets.isSealed(tickets.ticket({ ...VISIT, node: 'n2' }), 'text', seal)).toBe(false)
  expect(new Tickets('other').isSealed(ticket, 'text', seal)).toBe(false)
})

/** A Redis that knows one key. */
const memory = () => {
  const held = { secret: null as string | null, away: false }
  const redis = {
    set: async (_key: string, value: string) => {
      if (held.away) throw new Error('away')
      held.secret ??= value
      return 'OK'
    },
    get: async () => held.secret,
  }
  return { held, open: (keptMs: number) => ticketsOf({ redis: redis as never, keys: { copySecret: 'x' } }, keptMs) }
}

test('all who use one Redis have the same tickets, also after it has forgotten them', async () => {
  const { held, open } = memory()
  const [one, other] = [open(0), open(0)]
  const agree = async () => (await other()).admits((await one()).ticket(VISIT), VISIT)
  expect(await agree()).toBe(true)
  const before = held.secret
  held.secret = null
  expect(await agree()).toBe(true)
  expect(held.secret).toBe(before)
  held.secret = 'another'
  expect(await agree()).toBe(true)
})

test('while Redis is away the last tickets are good; before the first there are none', async () => {
  const { held, open } = memory()
  held.away = true
  const tickets = open(0)
  await expect(tickets()).rejects.toThrow()
  held.away = false
  const first = await tickets()
  held.away = true
  expect(await tickets()).toBe(first)
})
