import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { loads, PACE, QUICK, type LoadName, type Pace } from './scenarios.ts'

export type ScenarioName = LoadName | 'hand-off' | 'memory'

export interface BenchOptions {
  pace: Pace
  quick: boolean
  only: ScenarioName[]
  /** Where the JSON goes. */
  json: string | undefined
  /** The checkout to compare with. */
  against: string | undefined
  /** Where gateway and worker leave CPU profiles. */
  profile: string | undefined
  assert: boolean
}

const ALL: ScenarioName[] = ['hand-off', ...(Object.keys(loads) as LoadName[]), 'memory']

/** Fewer pairs show nothing. */
export const LEAST_PAIRS = 10

export const USAGE = `node test/bench/main.ts [--quick] [--only NAMES] [--rounds N] [--seconds N] [--json FILE] [--against DIR] [--profile DIR] [--assert]

What Drover adds between a client and an engine, measured with the scripted engine, all on this machine: direct, through a bare
proxy and through Drover in turns.

  --quick         a second or two per figure: shows that it runs, not how fast
  --only NAMES    some of ${ALL.join(', ')}
  --rounds N      rounds of all ways, ${PACE.rounds} by default
  --seconds N     measured in each turn, ${PACE.windowMs / 1000} by default
  --json FILE     where the results go, .drover/bench/<time>.json by default
  --against DIR   compares the gateway and worker of another checkout with this one's, in at least ${LEAST_PAIRS} pairs
  --profile DIR   gateway and worker leave CPU profiles there, and their dearest functions are listed
  --assert        exit code 1 when a bar is missed`

/** @throws Error with the reason, for a command line that is not one */
export const readOptions = (args: string[]): BenchOptions | 'help' => {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      json: { type: 'string' },
      against: { type: 'string' },
      profile: { type: 'string' },
      assert: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  const only = values.only?.split(',').map((name) => {
    const known = ALL.find((each) => each === name.trim())
    if (!known) throw new Error(`--only knows ${ALL.join(', ')}, not "${name}"`)
    return known
  })
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds)
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= 1 && rounds <= 100)) throw new Error('--rounds takes a number from 1 to 100')
  const seconds = values.seconds === undefined ? undefined : Number(values.seconds)
  if (seconds !== undefined && !(seconds >= 0.2 && seconds <= 60)) throw new Error('--seconds takes a number from 0.2 to 60')
  const pace = values.quick ? QUICK : PACE
  return {
    pace: { ...pace, ...(seconds !== undefined && { windowMs: 1000 * seconds }), rounds: Math.max(rounds ?? pace.rounds, values.against !== undefined && !values.quick ? LEAST_PAIRS : 1) },
    quick: values.quick,
    only: only ?? ALL,
    json: values.json === undefined ? undefined : resolve(values.json),
    against: values.against === undefined ? undefined : resolve(values.against),
    profile: values.profile === undefined ? undefined : resolve(values.profile),
    assert: values.assert,
  }
}
