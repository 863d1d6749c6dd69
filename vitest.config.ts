import { defineConfig } from 'vitest/config'

/** Vitest's own limits, 5 s for a test and 1 s for `expect.poll`, are promises of nobody's: a machine that does other things, too, may let a process wait for longer. A test that has a limit to show says so. */
const PATIENT = { testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 15_000 } } }

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['libs/*/src/**/*.test.ts', 'apps/*/src/**/*.test.ts'], ...PATIENT, pool: 'threads', isolate: false } },
      {
        test: {
          name: 'integration',
          include: ['test/**/*.test.ts'],
          ...PATIENT,
          pool: 'forks',
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
