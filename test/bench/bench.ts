import { compare, type Comparison } from './against.ts'
import { figures, handOffFigures, memoryFigures, type Figure } from './figures.ts'
import { measureHandOff } from './hand-off.ts'
import { machineFacts, ROOT } from './machine.ts'
import { measureMemory, type MemoryResult } from './memory.ts'
import type { BenchOptions } from './options.ts'
import { loads, type LoadName } from './scenarios.ts'
import type { Stage } from './stage.ts'
import { bullmqTarget, directTarget, droverTarget, proxyTarget, takeRounds, takeTurn, type Rounds, type Target } from './turns.ts'
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

/** Runs the scenarios one after the other. `say` is told how far it has come. */
export const bench = async (stage: Stage, options: BenchOptions, say: (text: string) => void): Promise<BenchResult> => {
  const { pace, only, against, quick, profile } = options
  const result: BenchResult = {
    machine: machineFacts(await stage.meter.version()), figures: [], comparisons: [], turns: {}, memory: undefined, wrong: 0, faults: [],
  }
  const drover = await stage.drover(ROOT, profile)
  const targets: Target[] =
    against === undefined
      ? [directTarget(stage), proxyTarget(stage), droverTarget(stage, drover)]
      : [droverTarget(stage, await stage.drover(against), 'before'), droverTarget(stage, drover, 'after')]

  for (const name of only.filter(isLoad)) {
    const all = name === 'short' && against === undefined ? [...targets, await bullmqTarget(stage)] : targets
    const rounds = await takeRounds(stage, all, loads[name](pace.windowMs), {
      ...pace,
      onTurn(target, { wrong, faults, firstToken, delay, tokens, answers, windowMs }, round) {
        const rate = (count: number) => Math.round((1000 * count) / windowMs)
        const [first, late] = [firstToken, delay].map(({ p50, p99 }) => `${p50.toFixed(2)}/${p99.toFixed(2)}`)
        say(`${name} ${round + 1}/${pace.rounds} ${target.name}: first ${first} ms, delay ${late} ms, ${rate(tokens)} tokens/s, ${rate(answers)} answers/s`)
        result.wrong += wrong
        result.faults.push(...faults.map((fault) => `${name}, ${target.name}: ${fault}`))
      },
    })
    result.turns[name] = rounds
    if (against === undefined) result.figures.push(...figures[name](rounds))
    else result.comparisons.push(...compare(name, rounds))
  }
  // Profiles should show what was measured, not what comes now.
  await drover.stop()
  if (against !== undefined) return result

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
