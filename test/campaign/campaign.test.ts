import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runCampaign } from './campaign.ts'
import { FAULT_NAMES } from './schedule.ts'
import { report } from './table.ts'

const MINUTES = 3
const SEED = 5

/** The slow part of the tests: three minutes of faults, always the same ones. A failed one leaves its history where it says. */
test(`${MINUTES} minutes of faults of every kind break no promise`, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-faults-'))
  const verdict = await runCampaign({ minutes: MINUTES, seed: SEED, appendfsync: 'everysec', clients: 24, folder, progress: () => undefined })
  console.log(report(verdict))
  expect(verdict.violations, `npm run faults -- --minutes ${MINUTES} --seed ${SEED} --clients 24; history in ${folder}`).toEqual([])
  expect(verdict.faults.map(({ fault }) => fault)).toEqual(FAULT_NAMES)
  expect(verdict.completed).toBeGreaterThan(500)
  expect(verdict.streams.survived).toBeGreaterThan(0)
  await rm(folder, { recursive: true })
}, (MINUTES + 4) * 60_000)
