import { table } from '../bench/report.ts'
import type { Spread, Verdict } from './checker.ts'
import { FAULTS } from './schedule.ts'

const seconds = (ms: number): string => (ms / 1000).toFixed(ms < 10_000 ? 2 : 1)
const spread = (of: Spread | undefined): string => (of ? `${seconds(of.p50)} / ${seconds(of.p99)} s of ${of.count}` : '–')
const most = (counts: Record<string, number>): string[] => Object.entries(counts).toSorted(([, a], [, b]) => b - a).map(([what, count]) => `  ${count} × ${what}`)

/** A verdict as people read it. */
export const report = (verdict: Verdict): string => {
  const { faults, violations, streams, ...all } = verdict
  const rows = faults.map(({ fault, times, jobs, violations: found, recovery }) => [
    `${fault} ${FAULTS[fault].what}`, String(times), String(jobs), String(found),
    recovery ? seconds(recovery.p50) : '–', recovery ? seconds(recovery.p99) : '–',
  ])
  const share = streams.cut === 0 ? '' : ` (${((100 * streams.survived) / streams.cut).toFixed(1)} %)`
  return [
    table(['fault', 'times', 'jobs', 'violations', 'p50, s', 'p99, s'], rows),
    '',
    `${all.requests} requests in ${all.seconds} s: ${all.accepted} accepted, ${all.completed} answered in full (${all.tokens} tokens), ${all.left} left by their clients, ${all.refused} met a closed port`,
    `streams whose worker was killed: ${streams.cut}, of which ${streams.survived} came to their good end${share}: ${streams.continued} continued, ${streams.restarted} from the start`,
    `running elsewhere after a worker's death, freeze or partition, p50 / p99: ${spread(all.recovery)}`,
    `longest silence that clients saw in streams which outlived their worker, p50 / p99: ${spread(all.gap)}`,
    `engine stopped after its client left, p50 / p99: ${spread(all.stop)}`,
    `forgotten by a killed Redis: ${all.forgotten}; told an error although complete: ${all.toldLess}`,
    ...(all.batch ? [`batch of ${all.batch.lines} lines: ${all.batch.completed} answered, ${all.batch.failed} failed`] : []),
    ...(Object.keys(all.unknown).length > 0 ? ['unknown to their clients:', ...most(all.unknown)] : []),
    ...(Object.keys(all.errors).length > 0 ? ['errors that clients were told:', ...most(all.errors)] : []),
    '',
    violations.length === 0 ? 'no violation' : `${violations.length} violations:`,
    ...violations.slice(0, 40).map(({ rule, key, what }) => `  ${rule} ${key ?? ''} ${what}`),
  ].join('\n')
}
