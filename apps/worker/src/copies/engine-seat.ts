import type { Engine, EngineView } from '@drover/engines'

/** An engine that is there, and what it said of itself last. */
export interface EngineSeat {
  engine: Engine
  view: EngineView
}
