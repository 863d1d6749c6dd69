import type { Library } from './library.ts'
import type { Settings } from './options.ts'
import type { Pacer } from './pacer.ts'
import type { Residency } from './residency.ts'
import type { Rules } from './rules.ts'
import type { Run } from './run.ts'
import type { Stats } from './stats.ts'

/** What the routes of one engine share. */
export interface EngineContext {
  settings: Settings
  pacer: Pacer
  stats: Stats
  residency: Residency
  rules: Rules
  /** What it can pull, and what was asked of its models. */
  library: Library
  /** Granted and not over. */
  runs: Set<Run>
  /** Ends the whole engine at once, as a crash does. */
  die(): void
}
