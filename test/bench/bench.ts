import { compare, type Comparison } from './against.ts'
import { figures, handOffFigures, memoryFigures, type Figure } from './figures.ts'
import { measureHandOff } from './hand-off.ts'
import type { Load } from './load.ts'
import { machineFacts, ROOT } from './machine.ts'
import { measureMemory, type MemoryResult } from './memory.ts'
import type { BenchOptions } from './options.ts'
import { loads, type LoadName } from './scenarios.ts'
import type { Stage } from './stage.ts'
import { bullmqTarget, directTarget, droverTarget, proxyTarget, takeRounds, takeTurn, type Rounds, type Target, type Turn } from './turns.ts'
import { fileLimit } from './usage.ts'

export interface BenchResult {
  machine: ReturnType<typeof machineFacts>
  figures: Figure[]
  comparisons: Comparison[]
  /** Turns by scenario and way. */
  turns: Record<string, Rounds>
  memory: MemoryResult | undefined
  /** Answers that were not what they should be; anything but none makes every figure worthless. */
  wrong: number
  faults: string[]
}

const isLoad = (name: string): name is LoadName => Object.hasOwn(loads, name)

/**
 * Rounds with the same processes, in a comparison. Each start of a process has luck of its own, of some percent (what was compiled when,
 * how the heap grew): with one start for all rounds that luck would pass for a difference.
 */
const ROUNDS_A_START = 2

/** Rounds of another checkout and of this one, with gateways and workers that are started anew again and again, now these first, now those. */
const takePairs = async (
  stage: Stage,
  against: string,
  load: Load,
  { rounds, warmMs, profile, onTurn }: Pick<BenchOptions, 'profile'> & { rounds: number; warmMs: number; onTurn(target: Target, turn: Turn, round: number): void },
): Promise<Rounds> => {
  const all: Rounds = { before: [], after: [] }
  for (let from = 0; from < rounds; from += ROUNDS_A_START) {
    const before = () => stage.drover(against)
    const after = () => stage.drover(ROOT, profile)
    const started = (from / ROUNDS_A_START) % 2 === 0 ? { before: await before(), after: await after() } : { after: await after(), before: await before() }
    const targets = [droverTarget(stage, started.before, 'before'), droverTarget(stage, started.after, 'after')]
    const some = await takeRounds(stage, targets, load, { rounds: Math.min(ROUNDS_A_START, rounds - from), warmMs, onTurn: (target, turn, round) => onTurn(target, turn, from + round) })
    for (const name of ['before', 'after']) all[name]!.push(...some[name]!)
    await started.before.stop()
    await started.after.stop()
  }
  return all
}

/** Runs the scenarios one after the other. `say` is told how far it has come. */
export const bench = async (stage: Stage, options: BenchOptions, say: (text: string) => void): Promise<BenchResult> => {
  const { pace, only, against, quick, profile } = options
  const result: BenchResult = {
    machine: machineFacts(await stage.meter.version()), figures: [], comparisons: [], turns: {}, memory: undefined, wrong: 0, faults: [],
  }
  const onTurn = (name: LoadName) => (target: Target, { wrong, faults, firstToken, delay, tokens, answers, windowMs }: Turn, round: number) => {
    const rate = (count: number) => Math.round((1000 * count) / windowMs)
    const [first, late] = [firstToken, delay].map(({ p50, p99 }) => `${p50.toFixed(2)}/${p99.toFixed(2)}`)
    say(`${name} ${round + 1}/${pace.rounds} ${target.name}: first ${first} ms, delay ${late} ms, ${rate(tokens)} tokens/s, ${rate(answers)} answers/s`)
    result.wrong += wrong
    result.faults.push(...faults.map((fault) => `${name}, ${target.name}: ${fault}`))
  }
  if (against !== undefined) {
    for (const name of only.filter(isLoad)) {
      const rounds = await takePairs(stage, against, loads[name](pace.windowMs), { ...pace, profile, onTurn: onTurn(name) })
      result.turns[name] = rounds
      result.comparisons.push(...compare(name, rounds))
    }
    return result
  }
  const drover = await stage.drover(ROOT, profile)
  const targets = [directTarget(stage), proxyTarget(stage), droverTarget(stage, drover)]
  for (const name of only.filter(isLoad)) {
    const all = name === 'short' ? [...targets, await bullmqTarget(stage)] : targets
    const rounds = await takeRounds(stage, all, loads[name](pace.windowMs), { ...pace, onTurn: onTurn(name) })
    result.turns[name] = rounds
    result.figures.push(...figures[name](rounds))
  }
  // Profiles should show what was measured, not what comes now.
  await drover.stop()

  if (only.includes('hand-off')) {
    const { p50, p99 } = await measureHandOff(stage, pace)
    say(`hand-off ${p50.toFixed(3)}/${p99.toFixed(3)} ms`)
    result.figures.push(...handOffFigures(p50, p99))
  }
  if (only.includes('memory')) {
    const fresh = await stage.drover(ROOT)
    const way = droverTarget(stage, fresh)
    for (const load of ['first32', 'first256'] as const) await takeTurn(stage, way, loads[load](pace.warmMs))
    for (const load of ['first32', 'first256'] as const) await takeTurn(stage, proxyTarget(stage), loads[load](pace.warmMs))
    await stage.client.drop()
    const most = Math.min(quick ? 300 : 5_000, fileLimit() - 500)
    result.memory = await measureMemory(stage, fresh, [0, Math.min(quick ? 100 : 500, most / 2), most], pace.warmMs)
    say(`memory with ${most} streams done`)
    result.figures.push(...memoryFigures(result.memory))
    await fresh.stop()
  }
  return result
}
