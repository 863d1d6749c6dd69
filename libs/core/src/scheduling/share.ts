/**
 * Fair share between the owners of a lane's jobs: self-clocked fair queueing. Each job gets a rank when it is submitted, and the lowest
 * rank is served first. `lua/submit.lua` and `lua/take.lua` of the broker do the same in Redis; `test/model` holds them to this file.
 */

/** What a client may ask for: a higher one makes its jobs cheaper, so that more of them are served in the same time. */
export const PRIORITY = { least: 1, usual: 5, most: 10 } as const

/** What one job of usual size and priority costs, in ranks: a common multiple, nearly, of what the ten priorities make of it. */
export const USUAL_COST = 10
/** So many tokens are a job of usual size: a prompt of some pages and its answer. */
const USUAL_TOKENS = 2_048
/** What is larger counts as this many usual jobs: an estimate that is wrong is not to keep anybody away for long. */
const MOST_USUAL = 8

/** An answer is taken to be this long where no limit was asked for, tokens. */
const ANSWER_TOKENS = 512
/** A limit says what may come, not what will, and many clients always send a high one: it counts up to this, tokens. */
const LIMIT_TOKENS = 4_096
const CHARS_PER_TOKEN = 4

/** Tokens that a request is expected to cost. `limit`: of the answer, if one was asked for; 0: nothing is generated. */
export const expectedTokens = (chars: number, limit = ANSWER_TOKENS): number => Math.ceil(chars / CHARS_PER_TOKEN) + Math.min(limit, LIMIT_TOKENS)

/** What a job pays, in ranks, both at least 1. */
export interface Weight {
  /** Before it is served. Not more than for a job of usual size, so that a single large one waits no longer than a small one. */
  entry: number
  /** Altogether: the rest is paid by its owner's next job. More than `entry`, so that the jobs of one owner stay in their order. */
  cost: number
}

/** `priority`: 1 to 10. */
export const weightOf = (tokens: number, priority: number): Weight => {
  const usual = Math.round((USUAL_COST * PRIORITY.usual) / priority)
  const size = Math.min(MOST_USUAL, Math.max(1, Math.ceil(tokens / USUAL_TOKENS)))
  // One less: whoever has nothing waiting goes before the next job of one who has, and not behind it because that came first.
  return { entry: usual - 1, cost: size * usual }
}

/** A rank is a BullMQ priority, 1 to this. */
export const MOST_RANK = 2 ** 21 - 1
/** When the rank that is served has come so far, all ranks of the lane are made smaller by it. */
export const RENUMBER_FROM = 2 ** 20

/**
 * The rank of the next job of an owner, and how far its owner has paid with it. `served`: the highest rank that was taken from the lane since
 * it was last empty, 0 at first; `paid`: as this function answered for the owner's job before, if it was since then.
 */
export const rankOf = (served: number, paid: number | undefined, { entry, cost }: Weight): { rank: number; paid: number } => {
  const start = Math.max(served, paid ?? 0)
  // A backlog whose ranks do not fit stands together at the end, in the order in which it came.
  return { rank: Math.min(start + entry, MOST_RANK), paid: Math.min(start + cost, MOST_RANK) }
}

/** A rank, or what an owner has paid, after the lane was numbered anew because `served` had come to `RENUMBER_FROM`. */
export const renumbered = (rank: number, served: number): number => Math.max(1, rank - served)
