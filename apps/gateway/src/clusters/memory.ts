import { bytesOf, type EngineRecord, type LoadedModel, type NodeRecord } from '@drover/core'

/** What a model in an engine's memory takes; of one that runs over several nodes, on all of them together. */
export const wholeMemory = ({ clusters = [] }: Pick<NodeRecord, 'clusters'>, { layout }: Pick<EngineRecord, 'layout'>, loaded: LoadedModel): LoadedModel => {
  const cluster = layout === 'cluster' ? clusters.find(({ model }) => model === loaded.model) : undefined
  if (!cluster) return loaded
  const size = cluster.members.reduce((sum, member) => sum + bytesOf(member), 0)
  const sizeVram = cluster.members.reduce((sum, member) => sum + (member.device === 'CPU' ? 0 : bytesOf(member)), 0)
  return { ...loaded, size, sizeVram, contextLength: cluster.context }
}
