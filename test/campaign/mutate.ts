import { join } from 'node:path'
import { table } from '../bench/report.ts'
import { KEY_MUTATIONS, type Mutation } from '../model/mutations.ts'
import { runCampaign } from './campaign.ts'
import type { Verdict, Violation } from './checker.ts'
import { CIRCUMSTANCES, type CircumstanceName, type Circumstances } from './circumstances.ts'
import type { CopiedTree } from './copied-tree.ts'
import { random } from './random.ts'

/** Where each missing check shows. */
const SHOWS: Record<string, CircumstanceName> = {
  'begin: the attempt belongs to who has the lock': 'frozen',
  'append: fencing': 'frozen',
  'append: the frame number': 'forgetful',
  'append: what was stored before is not stored again': 'repeated',
  'settle: only a job without a record': 'leaving',
  'sweep: passed deadlines': 'late',
}

/** One short campaign, with or without a check. */
export interface Trial {
  mutation: Mutation | undefined
  circumstances: CircumstanceName
  seed: number
  /** From the first client to when the checker found something, or to the end. */
  seconds: number
  violations: readonly Violation[]
}

export interface MutateOptions {
  tree: CopiedTree
  seed: number
  /** Only mutations whose names begin so. */
  only?: string | undefined
  /** Where the histories go. */
  folder: string
  progress(text: string): void
}

/** What cannot be undone by what comes later: of a job whose end is still to come nothing is said. */
const isCertain = ({ rule, key }: Violation): boolean => key !== undefined && rule !== 'S1'

const placeOf = ({ name }: Mutation): CircumstanceName => {
  const place = SHOWS[name]
  if (place === undefined) throw new Error(`nobody knows where the mutation "${name}" shows`)
  return place
}

/**
 * The checker is itself checked: in a copy of the tree one check of the scripts at a time is taken away, and a short campaign on it must break
 * a promise. The same campaign on the copy as it is must keep them all.
 */
export const tryMutations = async ({ tree, seed, only = '', folder, progress }: MutateOptions): Promise<Trial[]> => {
  const mutations = KEY_MUTATIONS.filter(({ name }) => name.startsWith(only))
  if (mutations.length === 0) throw new Error(`no mutation begins with "${only}": ${KEY_MUTATIONS.map(({ name }) => name).join('; ')}`)
  const trial = async (circumstances: CircumstanceName, mutation: Mutation | undefined): Promise<Trial> => {
    const { what, minutes, clients, workers, env = {}, order, faults }: Circumstances = CIRCUMSTANCES[circumstances]
    progress(`${mutation ? `without "${mutation.name}"` : 'nothing missing'}: ${what}, seed ${seed}`)
    const began = performance.now()
    const restore = mutation && tree.mutate(mutation)
    try {
      const verdict: Verdict = await runCampaign({
        minutes, seed, clients, workers, order, dir: tree.dir, appendfsync: 'everysec',
        faults: faults(random(seed).fork(circumstances)),
        env: { NODE_COMPILE_CACHE: join(tree.dir, 'compiled'), ...env },
        folder: join(folder, mutation ? mutation.name.replaceAll(/[^a-z]+/g, '-') : `unchanged-${circumstances}`),
        progress: () => undefined,
        ...(mutation && { enough: ({ violations }: Verdict) => violations.some(isCertain) }),
      })
      const violations = verdict.violations.toSorted((a, b) => Number(isCertain(b)) - Number(isCertain(a)))
      progress(`  ${violations.length === 0 ? 'no violation' : inWords(violations[0])} (${Math.round((performance.now() - began) / 1000)} s)`)
      return { mutation, circumstances, seed, seconds: verdict.seconds, violations }
    } finally {
      restore?.()
    }
  }
  const trials: Trial[] = []
  for (const name of new Set(mutations.map(placeOf))) {
    trials.push(await trial(name, undefined))
    for (const mutation of mutations) if (placeOf(mutation) === name) trials.push(await trial(name, mutation))
  }
  return trials
}

const inWords = (violation: Violation | undefined): string => (violation ? `${violation.rule} ${violation.key ?? ''} ${violation.what}` : 'none')

/** Each mutation found, and nothing found where nothing is missing. */
export const isSound = (trials: readonly Trial[]): boolean => trials.every(({ mutation, violations }) => (mutation === undefined) === (violations.length === 0))

/** The trials as people read them: under what, and the first promise that was seen broken. */
export const trialTable = (trials: readonly Trial[]): string => {
  const lines = table(
    ['check taken away', 'seed', 'seconds', 'violations', 'as it should'],
    trials.map((trial) => [trial.mutation?.name ?? 'none', String(trial.seed), String(trial.seconds), String(trial.violations.length), isSound([trial]) ? 'yes' : 'NO']),
  ).split('\n')
  const further = ['under; first violation', '----------------------', ...trials.map(({ circumstances, violations }) => `${CIRCUMSTANCES[circumstances].what}; ${inWords(violations[0])}`)]
  return lines.map((line, i) => `${line}  ${further[i] ?? ''}`).join('\n')
}
