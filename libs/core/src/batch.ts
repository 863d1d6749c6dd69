import type { DialectId } from './job.ts'
import type { Owner } from './caller.ts'

/** Where a batch is, in OpenAI's words. The last four are ends. */
export type BatchState = 'validating' | 'in_progress' | 'finalizing' | 'cancelling' | 'completed' | 'failed' | 'expired' | 'cancelled'

/** How a request of a batch ended. Every one ends in one of these, so that together they are all. */
export const LINE_ENDS = ['completed', 'failed', 'cancelled', 'expired'] as const
export type LineEnd = (typeof LINE_ENDS)[number]

/** What was asked for; it never changes. */
export interface BatchSpec {
  /** Whose API it was made by, and is shown in. */
  view: 'openai' | 'anthropic'
  /** The path that its lines name. */
  endpoint: string
  dialect: DialectId
  input: string
  inputParts: readonly (readonly [name: string, bytes: number])[]
  window: string
  metadata: Record<string, string> | null
  /** How long its files are kept, ms. */
  filesKeepMs: number
  /** Ids of the files that it will have. */
  output: string
  errors: string
  /** What ids of its jobs are made of: nobody else knows it. */
  seed: string
  /** Its requests, where they were counted when it was made. */
  count?: number
}

/** Something that is wrong with a batch's file; `line` counts from 1. */
export interface BatchError {
  code: string
  message: string
  param: string | null
  line: number | null
}

/** What validation has found: which models the requests are for, and where their places in the file are written down. */
export interface BatchPlan {
  models: string[]
  index: string
}

/** A batch as Redis knows it; times are epoch ms by Redis' clock. */
export interface Batch {
  id: string
  owner: Owner
  spec: BatchSpec
  store: string
  state: BatchState
  createdAt: number
  deadline: number
  /** When it came into each state that it has been in. */
  since: Partial<Record<BatchState, number>>
  counts: Record<LineEnd | 'total', number>
  plan: BatchPlan | undefined
  errors: BatchError[] | undefined
  /** Once it has ended, and where there is anything in it. */
  outputFile: string | undefined
  errorFile: string | undefined
}

const ENDS: ReadonlySet<BatchState> = new Set(['completed', 'failed', 'expired', 'cancelled'])
export const isOver = (state: BatchState): boolean => ENDS.has(state)
