import { expect, test } from 'vitest'
import { slowClients } from './slow-clients.ts'

test('a client that reads a byte a second costs the gateway a bounded buffer, and others nothing', async () => {
  const { usedEach, wrong } = await slowClients({ clients: 10, rounds: 1, windowMs: 500, others: 4 })
  expect(wrong).toBe(0)
  // Of an answer of 5 MB. With so few, what the heap happens to hold counts as well; the program by the same name measures it with 200.
  expect(usedEach).toBeLessThan(256)
})
