import { parseArgs } from 'node:util'
import { ClusterSite, DEATHS, fault, leavesNoRoom, needsCables, type Death, type Story } from './death.ts'

const USAGE = `node test/cluster/deaths.ts [--kills N] [--death NAMES] [--short] [--log]

A model that runs over three of four machines; in the middle of an answer something of it dies. Prints what became of each answer, and
the longest silence that its client saw.

  --kills N      how many deaths, 50 by default
  --death NAMES  some of ${DEATHS.join(', ')}; all by default, in turns
  --short        each of them once
  --log          of what went wrong, print what the workers have logged`

const { values } = parseArgs({ options: { kills: { type: 'string', default: '50' }, death: { type: 'string' }, short: { type: 'boolean', default: false }, log: { type: 'boolean', default: false }, help: { type: 'boolean' } } })
if (values.help) {
  process.stdout.write(`${USAGE}\n`)
  process.exit(0)
}

const TOKENS = 400

const named = values.death?.split(',').map((name): Death => {
  const known = DEATHS.find((each) => each === name)
  if (known) return known
  process.stderr.write(`there is no death ${name}\n\n${USAGE}\n`)
  return process.exit(2)
})

const site = await ClusterSite.open(TOKENS)
const deaths = (named ?? DEATHS).filter((death) => site.apart || !needsCables(death))
const count = values.short ? deaths.length : Number(values.kills)
const stories: Story[] = []
let wrong = 0
try {
  for (let i = 0; i < count; i += 1) {
    const since = Date.now()
    const story = await site.tell(deaths[i % deaths.length]!, Math.floor(i / deaths.length) + i)
    stories.push(story)
    const { death, dialect, read, readBefore, undisturbed, resumed, tookMs } = story
    const what = fault(story)
    const how = leavesNoRoom(death) ? `"${read.error ?? ''}" after ${(tookMs / 1000).toFixed(1)} s` : `silence ${(read.gapMs / 1000).toFixed(2)} s`
    console.log(`${String(i + 1).padStart(3)} ${death.padEnd(26)} ${dialect.padEnd(18)} at ${String(readBefore).padStart(4)} of ${undisturbed.length} characters, ${how}, went on ${resumed} times ${what === '' ? '' : `WRONG: ${what}`}`)
    if (what === '') continue
    wrong += 1
    if (values.log) console.log(site.logged(since).map((line) => `      ${line}`).join('\n'))
  }
} finally {
  await site.close()
}
const silences = (death: Death): string => {
  const gaps = stories.filter((story) => story.death === death).map(({ read }) => read.gapMs / 1000).toSorted((a, b) => a - b)
  const middle = gaps[Math.floor(gaps.length / 2)]
  return `${death.padEnd(26)} ${String(gaps.length).padStart(3)} times, median ${middle?.toFixed(2)} s, longest ${gaps.at(-1)?.toFixed(2)} s`
}
console.log('\nsilences')
for (const death of deaths) if (!leavesNoRoom(death) && stories.some((story) => story.death === death)) console.log(silences(death))
console.log(`${stories.length} deaths, ${wrong} wrong`)
// Not by itself: Node 24 sometimes spins for ever in its own cleanup, over a socket whose peer was killed.
process.exit(wrong > 0 ? 1 : 0)
