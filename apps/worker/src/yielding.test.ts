import type { ModelName } from '@drover/core'
import { expect, test } from 'vitest'
import { whoYields, type Running } from './yielding.ts'

const M = 'm:latest' as ModelName

/** Attempts in the order in which they began: `b` batch, `i` interactive (or one that may not be made to go), `c` batch that was told before; doubled: it holds two slots. */
const crowd = (text: string, { slots = 2, maxLoaded = 1 } = {}) => {
  const running = text.split(' ').filter((word) => word !== '').map((word, i): Running & { name: string } => {
    const [kind = '', model = 'm'] = word.split(':')
    const batch = !kind.startsWith('i')
    return { name: `${i}`, model: `${model}:latest` as ModelName, batch, width: kind.length, claimed: kind.startsWith('c'), over: Promise.resolve(), ...(batch && { give: () => undefined }) }
  })
  const busy = new Map<ModelName, number>()
  for (const { model, width } of running) busy.set(model, (busy.get(model) ?? 0) + width)
  return { running, busy, slots, maxLoaded }
}

test.each([
  ['the youngest goes', M, 'b b', {}, ['1']],
  ['an interactive one stays, however young', M, 'b i', {}, ['0']],
  ['of interactive ones nobody goes', M, 'i i', {}, undefined],
  ['one more than has been told', M, 'b b c i', { slots: 3 }, ['1']],
  ['nobody twice', M, 'c c i i', {}, undefined],
  ['where one more fits nobody has to go', M, 'b', {}, undefined],
  ['as many as it takes, where a job has turned out to be wider', M, 'b b bb', { slots: 2 }, ['2', '1']],
  ['all of another model, where only one fits in memory', M, 'b:n b:n', {}, ['1', '0']],
  ['not if one of them stays', M, 'b:n i:n', {}, undefined],
  ['the model with fewer', M, 'b:n b:n b:p', { maxLoaded: 2 }, ['2']],
  ['where another model fits nobody has to go', M, 'b:n', { maxLoaded: 2 }, undefined],
  ['a model that takes nothing', M, 'b', { slots: 0 }, undefined],
])('%s', (_name, model, text, options, expected) => {
  expect(whoYields(model, crowd(text, options))?.map((each) => (each as unknown as { name: string }).name)).toEqual(expected)
})
