import { BrokerError, DesiredState, type WrittenState } from '@drover/core'
import { expect, test } from 'vitest'
import { configured } from './configured.ts'

const STATE = DesiredState.parse({ models: { m: { replicas: 2 } } })

/** A Redis that answers as it is told, and what was heard of it. */
const stage = (answers: (Error | boolean)[], state: DesiredState | null = STATE) => {
  const put: WrittenState[] = []
  const heard: string[] = []
  const store = {
    put: async (written: WrittenState) => {
      put.push(written)
      const answer = answers.shift()
      if (answer instanceof Error) throw answer
      return { version: 7, changed: answer === true }
    },
  }
  const describe = configured({ store, state: state ?? undefined, onDesired: ({ version, models, by }) => heard.push(`${version} ${models} ${by}`), onPutOff: ({ reason }) => heard.push(reason) })
  return { describe, put, heard }
}

test('a Redis that is full or away does not end the start: it is described when Redis takes it, and then no more', async () => {
  const { describe, put, heard } = stage([new BrokerError('queue_full', 'no memory'), new BrokerError('broker_unavailable', 'away'), true])
  for (let i = 0; i < 5; i += 1) await describe()
  expect([put.length, heard]).toEqual([3, ['no memory', '7 1 configuration']])
  expect(put[0]).toEqual({ models: { m: { replicas: 2 } }, prune: false })
})

test('what was described before is not told again, what nobody can mend by waiting is thrown, and nothing is nothing', async () => {
  const before = stage([false])
  await before.describe()
  await before.describe()
  expect([before.put.length, before.heard]).toEqual([1, []])
  await expect(stage([new Error('broken')]).describe()).rejects.toThrow('broken')
  const none = stage([], null)
  await none.describe()
  expect(none.put).toEqual([])
})
