import { expect, test } from 'vitest'
import { MemoryBudget } from './memory-budget.ts'

test('what one uses the others cannot have, and nobody is left less than nothing', () => {
  const budget = new MemoryBudget(100)
  const [models, lent] = [budget.share('models'), budget.share('lent')]
  models.use(30)
  expect([models.now(), lent.now()]).toEqual([100, 70])
  lent.use(60)
  expect([models.now(), lent.now(), budget.usedBy('lent')]).toEqual([40, 70, 60])
  models.use(0)
  expect(lent.now()).toBe(100)
  models.use(120)
  expect([lent.now(), models.most]).toEqual([0, 100])
})
