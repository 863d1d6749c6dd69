import type { EngineKind, EngineRecord, HeldModel, Layout } from './node.ts'

/** What a job requires of the engine that answers it, besides that it holds the model. */
export interface Requirements {
  /** The only kind that can answer it; absent: any. */
  engine?: EngineKind | undefined
  /** How the model is to be run; absent: as it is run best. */
  layout?: Layout | undefined
}

/** Whether an engine that holds a model is one that a job requires. */
export const meets = (
  { kind, layout = 'node' }: Pick<EngineRecord, 'kind' | 'layout'>,
  { onlyAsked = false }: Pick<HeldModel, 'onlyAsked'>,
  required: Requirements,
): boolean => (required.engine ?? kind) === kind && (required.layout === undefined ? !onlyAsked : required.layout === layout)
