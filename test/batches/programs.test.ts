import { expect, test } from 'vitest'
import { largeFile } from './large-file.ts'
import { KINDS } from './places.ts'
import { tenThousand } from './ten-thousand.ts'

test.for(KINDS)('of a large file in a %s the one bad line is told by its number, and neither the gateway nor Redis holds it', { timeout: 120_000 }, async (kind) => {
  const { told, bad, status, counts, once, gatewayPeakBytes, redisPeakBytes } = await largeFile({ lines: 5_000, bytes: 60 * 1024 * 1024, answered: 200, kind })
  expect(told).toEqual({ code: 'invalid_json_line', line: bad })
  expect({ status, total: counts['total'], once }).toEqual({ status: 'cancelled', total: 5_000, once: true })
  // The program by the same name measures 50,000 lines of 200 MB.
  expect(gatewayPeakBytes).toBeLessThan(300e6)
  expect(redisPeakBytes).toBeLessThan(60e6)
})

test('a batch is answered once and rightly while others ask, and nobody is answered wrongly', async () => {
  const { status, counts, once, right, alone, beside } = await tenThousand({ lines: 400, slots: 4, answerMs: 100, interactive: 0.2, aloneMs: 1_000 })
  expect({ status, once, right, counts }).toEqual({ status: 'completed', once: true, right: true, counts: { total: 400, completed: 400, failed: 0, cancelled: 0, expired: 0 } })
  expect([alone.wrong, beside.wrong]).toEqual([0, 0])
  expect(beside.requests).toBeGreaterThan(10)
}, 120_000)
