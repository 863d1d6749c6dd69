import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { comparisonTable } from './against.ts'
import { bench } from './bench.ts'
import { verdict } from './figures.ts'
import { commitOf, ROOT } from './machine.ts'
import { readOptions, USAGE, type BenchOptions } from './options.ts'
import { profileTables } from './profile.ts'
import { cpuTable, figureTable } from './report.ts'
import { openStage } from './stage.ts'

const print = (text = '') => process.stdout.write(`${text}\n`)
const progress = (text: string) => process.stderr.write(`${text}\n`)

const options = ((): BenchOptions => {
  try {
    const read = readOptions(process.argv.slice(2))
    if (read !== 'help') return read
    print(USAGE)
    process.exit(0)
  } catch (error) {
    progress(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    process.exit(2)
  }
})()

let close = async () => {}
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    interrupted = true
    void close().finally(() => process.exit(130))
  })

try {
  const stage = await openStage((end) => (close = end))
  const result = await bench(stage, options, progress)
  await close()
  const { machine, figures, comparisons, turns, wrong, faults } = result
  print()
  print(`Drover ${machine.commit}, Node ${machine.node}, Redis ${machine.redis}, ${machine.cores} cores (${machine.processor}), load before ${machine.loadBefore.join(' ')}`)
  print(`medians of ${options.pace.rounds} interleaved rounds; "added" is Drover less direct of the same round`)
  print()
  if (options.against === undefined) print(figureTable(figures))
  else print(`before: ${options.against} (${commitOf(options.against)})\n\n${comparisonTable(comparisons)}`)
  if (Object.keys(turns).length > 0) print(`\n${cpuTable(turns)}`)
  if (options.profile !== undefined) print(`\n${profileTables(options.profile)}`)
  if (wrong > 0) print(`\n${wrong} answers were wrong, so no figure counts: ${[...new Set(faults)].slice(0, 5).join('; ')}`)

  const path = options.json ?? join(ROOT, '.drover', 'bench', `${new Date().toISOString().replaceAll(':', '-').slice(0, 19)}.json`)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `${JSON.stringify({ options, ...result }, undefined, 1)}\n`)
  print(`\nwritten to ${path}`)
  process.exitCode = options.assert && (wrong > 0 || figures.some((figure) => verdict(figure) === 'missed')) ? 1 : 0
} catch (error) {
  await close()
  if (!interrupted) {
    progress(error instanceof Error ? (error.stack ?? error.message) : String(error))
    process.exitCode = 1
  }
}
