import type { NodeRecord } from '../node.ts'

/** Part of a machine's memory that a model may take there; the rest is for everybody else. */
const USABLE = 0.9
/** Models with more parameters are run by no single node where nobody knows what that has: a default, as OLOL has it (github.com/K2/olol). */
export const MOST_ALONE = 70e9

/** What a model asks of a node that is to run it by itself. */
export interface AloneNeeds {
  /** Bytes, with its cache and room to compute in. */
  bytes: number
  parameters: number
}

/** Whether a node runs a model by itself: by the memory that it has, or, where that is not known, by the model's size alone. */
export const runsAlone = ({ memory, gpus }: Pick<NodeRecord, 'memory' | 'gpus'>, { bytes, parameters }: AloneNeeds): boolean => {
  const cards = gpus.reduce((sum, gpu) => sum + gpu.memory, 0)
  if (!memory && cards === 0) return parameters <= MOST_ALONE
  return bytes <= USABLE * ((memory?.total ?? 0) + cards)
}
