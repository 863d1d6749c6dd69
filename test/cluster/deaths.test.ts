import { expect, onTestFinished, test } from 'vitest'
import { ClusterSite, DEATHS, fault, needsCables, type Death } from './death.ts'
import { skipsWithoutCluster } from './stage.ts'

const TOKENS = 280
/** Those that take longest, or are like another once they are noticed, are left to `deaths.ts`. */
const LEFT_OUT = new Set<Death>(['lender-worker-frozen', 'llama-server-frozen', 'no-room-for-long'])
const SHORT = DEATHS.filter((death) => !LEFT_OUT.has(death))

/** `deaths.ts` does the same many times. */
test.skipIf(skipsWithoutCluster())('whatever of a cluster dies in the middle of an answer, the answer ends as if nothing had, and nothing is left of what died', async () => {
  const site = await ClusterSite.open(TOKENS)
  onTestFinished(() => site.close())
  for (const [place, death] of SHORT.entries()) {
    if (!site.apart && needsCables(death)) continue
    const since = Date.now()
    const found = fault(await site.tell(death, place))
    if (found !== '') process.stderr.write(`${death}:\n${site.logged(since).join('\n')}\n`)
    expect({ death, fault: found }).toEqual({ death, fault: '' })
  }
}, 600_000)
