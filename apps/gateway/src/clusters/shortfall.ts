import type { LaneFacts } from '@drover/broker'
import { meets } from '@drover/core'
import type { View } from '../registry-view.ts'

/** Why no job of a lane can begin just now although a node has its model: the memory that is missing. `undefined`: that is not why. */
export const shortfall = ({ holders, short }: Pick<View, 'holders' | 'short'>, { model, ...required }: LaneFacts): string | undefined => {
  if (required.layout === 'node') return undefined
  const able = holders.get(model)?.filter(({ engine, held }) => meets(engine, held, required)) ?? []
  const allShort = able.every(({ node, engine }) => engine.layout === 'cluster' && node.shortOf?.some((each) => each.model === model))
  return allShort ? short.get(model)?.reason : undefined
}
