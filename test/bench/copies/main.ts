import { parseArgs } from 'node:util'
import { machineFacts } from '../machine.ts'
import { table } from '../report.ts'
import { median, medianInterval } from '../samples.ts'
import { openCopySite, type CopySite } from './site.ts'

const USAGE = `npm run bench:copies -- [--pairs N] [--mb N] [--mbit N]

A model that is copied from one machine to another, each with a network of its own: by Drover, from the request to the verified model, and by curl from the same place, which only writes what comes; in turns. Then once with the receiver killed in the middle.

  --pairs N  pairs of turns, 7 by default
  --mb N     size of the model in MiB, 1024 by default
  --mbit N   what the cable lets through, 2500 Mbit/s by default; 0: all that it can, which no cable could`

const print = (text = '') => process.stdout.write(`${text}\n`)
const progress = (text: string) => process.stderr.write(`${text}\n`)

const { values } = parseArgs({ options: { pairs: { type: 'string', default: '7' }, mb: { type: 'string', default: '1024' }, mbit: { type: 'string', default: '2500' }, help: { type: 'boolean', default: false } } })
const [pairs, mb, mbit] = [Number(values.pairs), Number(values.mb), Number(values.mbit)]
if (values.help || !(Number.isInteger(pairs) && pairs >= 1 && pairs <= 100 && mb >= 16 && mb <= 1_500 && mbit >= 0)) {
  print(USAGE)
  process.exit(values.help ? 0 : 2)
}

let site: CopySite | undefined
const close = async () => {
  await site?.close()
  site = undefined
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void close().finally(() => process.exit(130)))

try {
  const bytes = Math.round(mb * 1024 ** 2)
  site = await openCopySite(bytes, mbit)
  const rate = (ms: number) => bytes / 1e6 / (ms / 1_000)
  const turns: { curl: number; drover: number; receiver: number; sender: number }[] = []
  for (let i = 0; i < pairs; i += 1) {
    const order = i % 2 === 0
    const first = order ? await site.curl() : undefined
    const { ms, grown } = await site.copy()
    const turn = { curl: rate(first ?? (await site.curl())), drover: rate(ms), ...grown }
    turns.push(turn)
    progress(`pair ${i + 1} of ${pairs}: curl ${turn.curl.toFixed(0)} MB/s, drover ${turn.drover.toFixed(0)} MB/s; memory grew by ${(grown.receiver / 1e6).toFixed(0)} and ${(grown.sender / 1e6).toFixed(0)} MB`)
  }
  const { before, after } = await site.killed()
  const ratios = turns.map(({ curl, drover }) => drover / curl)
  const [from, to] = medianInterval(ratios)
  const machine = machineFacts('')
  print(`Drover ${machine.commit}, Node ${machine.node}, ${machine.cores} cores (${machine.processor}), load before ${machine.loadBefore.join(' ')}; ${site.apart ? `two network namespaces, ${mbit === 0 ? 'no bound' : `${mbit} Mbit/s`}` : 'the loopback'}, ${mb} MiB`)
  print()
  print(
    table(
      ['figure', 'curl', 'drover', 'pairs', 'ratio', '95 % of it'],
      [['MB/s', median(turns.map(({ curl }) => curl)).toFixed(0), median(turns.map(({ drover }) => drover)).toFixed(0), String(pairs), median(ratios).toFixed(2), pairs < 6 ? 'too few pairs' : `${from.toFixed(2)}–${to.toFixed(2)}`]],
    ),
  )
  print()
  print(`memory of the receiver grew by at most ${(Math.max(...turns.map(({ receiver }) => receiver)) / 1e6).toFixed(0)} MB, of the sender by ${(Math.max(...turns.map(({ sender }) => sender)) / 1e6).toFixed(0)} MB`)
  print(`killed after ${(before / 1e6).toFixed(0)} MB; ${(after / 1e6).toFixed(0)} MB were sent behind that, ${((before + after - bytes) / 1e6).toFixed(1)} MB twice`)
} catch (error) {
  progress(error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.exitCode = 1
} finally {
  await close()
}
