import { expect, onTestFinished, test } from 'vitest'
import { openCopySite } from './site.ts'

test('a model goes from one machine to the other, and is forgotten there for the next turn', async () => {
  const site = await openCopySite(16 * 1024 ** 2, 0)
  onTestFinished(() => site.close())
  for (let turn = 0; turn < 2; turn += 1) expect((await site.copy()).ms).toBeGreaterThan(0)
}, 120_000)
