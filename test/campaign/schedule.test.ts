import { expect, test } from 'vitest'
import { FAULT_NAMES, OF_CLIENTS, scheduleOf, type FaultName } from './schedule.ts'

const options = { seed: 42, minutes: 20, workers: 4, gateways: 2 }
const counts = (schedule: ReturnType<typeof scheduleOf>) => {
  const result: Partial<Record<FaultName, number>> = {}
  for (const { fault } of schedule) result[fault] = (result[fault] ?? 0) + 1
  return result
}

test('a seed is a schedule, and another seed another one', () => {
  expect(scheduleOf(options)).toEqual(scheduleOf(options))
  expect(scheduleOf({ ...options, seed: 43 })).not.toEqual(scheduleOf(options))
})

test('20 minutes have the kills that a release wants, in their order and within the time', () => {
  const schedule = scheduleOf(options)
  const { F1 = 0, F13 = 0, F4 = 0, F5 = 0 } = counts(schedule)
  expect([F1 >= 200, F13 >= 50, F4 >= 20, F5 >= 20]).toEqual([true, true, true, true])
  expect(schedule.map(({ at }) => at)).toEqual(schedule.map(({ at }) => at).toSorted((a, b) => a - b))
  expect(schedule.at(-1)?.at).toBeLessThan(20 * 60_000)
})

test('every fault occurs even in a minute, and of those that are asked for only these', () => {
  expect(Object.keys(counts(scheduleOf({ ...options, minutes: 1 }))).toSorted()).toEqual(FAULT_NAMES.filter((name) => !OF_CLIENTS.includes(name)).toSorted())
  expect(Object.keys(counts(scheduleOf({ ...options, only: ['F4', 'F17'] })))).toEqual(expect.arrayContaining(['F4', 'F17']))
  expect(Object.keys(counts(scheduleOf({ ...options, only: ['F4', 'F17'] })))).toHaveLength(2)
})

test('leaving a fault out changes nothing in the others', () => {
  const only = scheduleOf({ ...options, only: ['F1'] }).map(({ at }) => at)
  expect(scheduleOf(options).filter(({ fault }) => fault === 'F1').map(({ at }) => at)).toEqual(only)
})
