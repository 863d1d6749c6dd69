import type { Site, Way } from './site.ts'
import { timedAnswer } from './timed.ts'

export const WAYS = ['plain', 'drover'] as const
export type WayName = (typeof WAYS)[number]

/** What one way took in one turn: from nothing, and then with the model in memory. */
export interface Turn {
  /** From nothing to the first token: processes, weights, prompt. */
  loadMs: number
  /** Medians over the answers of the turn. */
  firstMs: number
  tokensPerSecond: number
}

export interface Pair extends Record<WayName, Turn> {
  members: number
}

export interface Pace {
  pairs: number
  /** Answers of each turn that are measured. */
  answers: number
  tokens: number
}

const PROMPT = 'Tell of number 1.'
const middle = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

const turnOf = async (begin: () => Promise<Way>, { answers, tokens }: Pace): Promise<Turn & { text: string }> => {
  const begun = performance.now()
  const way = await begin()
  try {
    const asked = performance.now()
    const { firstMs } = await timedAnswer(way.url, way.model, PROMPT, 1)
    const loadMs = asked - begun + firstMs
    const timed = []
    for (let i = 0; i < answers; i += 1) timed.push(await timedAnswer(way.url, way.model, PROMPT, tokens))
    return { loadMs, firstMs: middle(timed.map((each) => each.firstMs)), tokensPerSecond: middle(timed.map((each) => each.tokensPerSecond)), text: timed.map(({ text }) => text).join('\n') }
  } finally {
    await way.end()
  }
}

/** Both ways in turns, each first as often as the other. @throws Error when they do not say the same */
export const pairsOn = async (site: Site, members: number, pace: Pace, progress: (text: string) => void): Promise<Pair[]> => {
  const pairs: Pair[] = []
  // What is read of a file for the first time comes from the disk; and what is started by hand is learned from it.
  const wanted = (await turnOf(site.drover, pace)).text
  for (let i = 0; i < pace.pairs; i += 1) {
    const turns: Partial<Record<WayName, Turn>> = {}
    for (const name of i % 2 === 0 ? WAYS : WAYS.toReversed()) {
      const { text, ...turn } = await turnOf(site[name], pace)
      if (text !== wanted) throw new Error(`${name} on ${members} does not say the same`)
      turns[name] = turn
    }
    const { plain, drover } = turns as Record<WayName, Turn>
    pairs.push({ members, plain, drover })
    progress(`${members} members, pair ${i + 1} of ${pace.pairs}: ${WAYS.map((name) => `${name} ${Math.round(turns[name]!.loadMs)} ms, ${turns[name]!.firstMs.toFixed(1)} ms, ${turns[name]!.tokensPerSecond.toFixed(1)} tokens/s`).join('; ')}`)
  }
  return pairs
}
