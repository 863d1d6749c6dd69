import { expect, onTestFinished, test } from 'vitest'
import { ClusterSite, DEATHS, fault, needsCables } from './death.ts'
import { skipsWithoutCluster } from './stage.ts'

/** `deaths.ts` does the same many times. */
test.skipIf(skipsWithoutCluster())('whatever of a cluster dies in the middle of an answer, the answer ends as if nothing had, and nothing is left of what died', async () => {
  const site = await ClusterSite.open()
  onTestFinished(() => site.close())
  for (const [place, death] of DEATHS.entries()) {
    if (!site.apart && needsCables(death)) continue
    const since = Date.now()
    const found = fault(await site.tell(death, place))
    if (found !== '') process.stderr.write(`${death}:\n${site.logged(since).join('\n')}\n`)
    expect({ death, fault: found }).toEqual({ death, fault: '' })
  }
}, 300_000)
