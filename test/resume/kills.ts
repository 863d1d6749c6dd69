import { parseArgs } from 'node:util'
import { ASKED, fault, RealSite, tell, type Death, type Story, type Wanted } from './deaths.ts'

const USAGE = `node test/resume/kills.ts [--kills N] [--death worker|engine|freeze|cut]

Real llama-servers on two nodes; in mid-answer the one that answers dies. Prints what became of each answer, and the gaps.`

const { values } = parseArgs({ options: { kills: { type: 'string', default: '50' }, death: { type: 'string', default: 'worker' }, help: { type: 'boolean' } } })
if (values.help) {
  process.stdout.write(`${USAGE}\n`)
  process.exit(0)
}

/** Most are continued: that is what people ask. */
const RUNGS: readonly Wanted[] = ['continue', 'continue', 'replay', 'continue', 'restart', 'continue', 'continue', 'error', 'continue', 'continue']

const site = await RealSite.open()
const stories: Story[] = []
const wrong: string[] = []
try {
  for (let i = 0; i < Number(values.kills); i += 1) {
    const story = await tell(site, ASKED[i % ASKED.length]!, values.death as Death, RUNGS[Math.floor(i / ASKED.length) % RUNGS.length]!, i)
    stories.push(story)
    const what = fault(story)
    if (what !== '') wrong.push(what)
    const { dialect, wanted, gapMs, made } = story
    console.log(`${String(i + 1).padStart(3)} ${dialect.padEnd(18)} ${wanted.padEnd(8)} gap ${(gapMs / 1000).toFixed(2)} s, second engine made ${made ?? '–'} tokens ${what === '' ? '' : `WRONG: ${what}`}`)
  }
} finally {
  await site.close()
}
const gaps = stories.filter(({ wanted }) => wanted === 'continue' || wanted === 'replay').map(({ gapMs }) => gapMs).toSorted((a, b) => a - b)
const at = (share: number) => ((gaps[Math.min(gaps.length - 1, Math.floor(share * gaps.length))] ?? 0) / 1000).toFixed(2)
const by = (wanted: Wanted) => stories.filter((story) => story.wanted === wanted).length
console.log(`${stories.length} faults (${values.death}): ${(['continue', 'replay', 'restart', 'error'] as const).map((rung) => `${by(rung)} ${rung}`).join(', ')}; ${wrong.length} wrong; gap p50 ${at(0.5)} s, p99 ${at(0.99)} s`)
// Not by itself: Node 24 sometimes spins for ever in its own cleanup, over a socket whose peer was killed.
process.exit(wrong.length > 0 ? 1 : 0)
