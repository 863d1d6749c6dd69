import { expect, onTestFinished, test } from 'vitest'
import type { DialectName } from '../campaign/formats.ts'
import { skipsWithoutLlamaServer } from '../support/llama-server.ts'
import { fault, RealSite, tell, type Death, type Wanted } from './deaths.ts'

/** `kills.ts` does the same many times, for all dialects, with every rung. */
const STORIES: [DialectName, Death, Wanted][] = [
  ['ollama.chat', 'worker', 'continue'],
  ['anthropic.messages', 'engine', 'continue'],
  ['openai.chat', 'cut', 'continue'],
  ['ollama.generate', 'worker', 'replay'],
]

test.skipIf(skipsWithoutLlamaServer())('real llama-servers: the answer of a node that dies in the middle of it is the same as if it had not', async () => {
  const site = await RealSite.open()
  onTestFinished(() => site.close())
  for (const [i, [dialect, death, wanted]] of STORIES.entries())
    expect({ dialect, death, wanted, fault: fault(await tell(site, dialect, death, wanted, i)) }).toEqual({ dialect, death, wanted, fault: '' })
}, 180_000)
