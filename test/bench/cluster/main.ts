import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { machineFacts, ROOT } from '../machine.ts'
import { clusterFigures, clusterTable } from './figures.ts'
import { pairsOn, type Pair, type Pace } from './rounds.ts'
import { openSite, type Site } from './site.ts'

const USAGE = `npm run bench:cluster -- [--quick] [--members LIST] [--pairs N] [--json FILE]

A model whose layers lie on 1, 2 and 3 machines that lend memory, each with a network of its own, and one that coordinates: through
Drover's gateway, and by a plain llama-server and rpc-servers started by hand with the same arguments, in turns.

  --quick         two pairs: shows that it runs, not how fast
  --members LIST  some of 1,2,3
  --pairs N       pairs of turns for each, 10 by default
  --json FILE     where the results go, .drover/bench/cluster-<time>.json by default`

const MEMBERS = [1, 2, 3]
const PACE: Pace = { pairs: 10, answers: 3, tokens: 96 }
const QUICK: Pace = { pairs: 2, answers: 1, tokens: 32 }

const print = (text = '') => process.stdout.write(`${text}\n`)
const progress = (text: string) => process.stderr.write(`${text}\n`)

const optionsOf = (args: string[]) => {
  const { values } = parseArgs({ args, options: { quick: { type: 'boolean', default: false }, members: { type: 'string' }, pairs: { type: 'string' }, json: { type: 'string' }, help: { type: 'boolean', default: false } } })
  if (values.help) return 'help'
  const members = values.members?.split(',').map(Number) ?? MEMBERS
  if (members.some((count) => !MEMBERS.includes(count))) throw new Error(`--members knows ${MEMBERS.join(', ')}, not "${values.members}"`)
  const pairs = values.pairs === undefined ? undefined : Number(values.pairs)
  if (pairs !== undefined && !(Number.isInteger(pairs) && pairs >= 1 && pairs <= 100)) throw new Error('--pairs takes a number from 1 to 100')
  const pace = values.quick ? QUICK : PACE
  return { members, pace: { ...pace, pairs: pairs ?? pace.pairs }, json: values.json === undefined ? undefined : resolve(values.json) }
}

const options = ((): Exclude<ReturnType<typeof optionsOf>, 'help'> => {
  try {
    const read = optionsOf(process.argv.slice(2))
    if (read !== 'help') return read
    print(USAGE)
    process.exit(0)
  } catch (error) {
    progress(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    process.exit(2)
  }
})()

let site: Site | undefined
const close = async () => {
  await site?.close()
  site = undefined
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void close().finally(() => process.exit(130)))

const { redis: _redis, ...machine } = machineFacts('')
const pairs: Pair[] = []
try {
  for (const members of options.members) {
    site = await openSite(members)
    pairs.push(...(await pairsOn(site, members, options.pace, progress)))
    await close()
  }
  const figures = clusterFigures(pairs)
  print()
  print(`Drover ${machine.commit}, Node ${machine.node}, ${machine.cores} cores (${machine.processor}), load before ${machine.loadBefore.join(' ')}; one thread for each process of llama.cpp`)
  print(`medians of ${options.pace.pairs} interleaved pairs, ${options.pace.answers} answers of ${options.pace.tokens} tokens in each turn; the ratio is Drover to plain`)
  print()
  print(clusterTable(figures))
  const path = options.json ?? join(ROOT, '.drover', 'bench', `cluster-${new Date().toISOString().replaceAll(':', '-').slice(0, 19)}.json`)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `${JSON.stringify({ options, machine, figures, pairs }, undefined, 1)}\n`)
  print(`\nwritten to ${path}`)
} catch (error) {
  progress(error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.exitCode = 1
} finally {
  await close()
}
