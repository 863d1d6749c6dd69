import { dirname } from 'node:path'
import { coordinatorRoom, layersRoom, LENT_PROGRAM_BYTES, planCluster, type Candidate, type ModelShape, type PlanWish } from '@drover/core'
import { HEADROOM } from '../../libs/core/src/cluster/devices.ts'
import { ggufFilesIn, modelFiles, type ModelFile } from '../../libs/engines/src/supervised/model-files.ts'

const MIB = 2 ** 20

/** A GGUF file as a worker reads it. @throws Error where it would leave it out */
export const modelFileAt = async (path: string): Promise<ModelFile> => {
  const left: string[] = []
  const files = await modelFiles(() => ggufFilesIn(dirname(path)), (file, reason) => void left.push(`${file} ${reason}`))()
  const found = files.find((file) => file.path === path)
  if (!found) throw new Error(`${path} is no model: ${left.join(', ')}`)
  return found
}

/** Bytes of a machine: what its worker may use, and what of it is lent. */
export interface Memory {
  own: number
  lent: number
}

/** Memory with which a machine has so much room for layers and cache, whether it coordinates or lends. */
const withRoom = (shape: ModelShape, wish: PlanWish, room: number): Memory => {
  const computes = layersRoom(shape, wish, false)
  const free = (besides: number) => Math.ceil((besides + room) / (1 - HEADROOM)) + 1
  return { own: free(coordinatorRoom(shape, wish) + computes), lent: free(LENT_PROGRAM_BYTES + Math.max(computes, shape.largest)) }
}

/** How many of equal machines a model takes, one of which coordinates; `undefined`: more than there are. */
export const membersWith = (shape: ModelShape, wish: PlanWish, machines: number, { own, lent }: Memory): number | undefined => {
  const candidates = Array.from({ length: machines }, (_, i): Candidate => ({ node: i === 0 ? 'c' : `l${i}`, device: 'CPU', kind: 'cpu', free: i === 0 ? own : lent }))
  const verdict = planCluster({ shape, coordinator: 'c', candidates, wish })
  return verdict.kind === 'planned' ? verdict.plan.members.length : undefined
}

const leastRoom = (shape: ModelShape, wish: PlanWish, machines: number): number => {
  let [low, high] = [0, 64 * 1024]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (membersWith(shape, wish, machines, withRoom(shape, wish, middle * MIB)) === undefined) low = middle + 1
    else high = middle
  }
  return low * MIB
}

/** Memory with which a model takes exactly so many of equal machines: half-way between what is needed for that and what would do for one less. */
export const memoryFor = (shape: ModelShape, wish: PlanWish, machines: number): Memory => {
  const [least, less] = [leastRoom(shape, wish, machines), leastRoom(shape, wish, machines - 1)]
  if (less - least < 4 * MIB) throw new Error(`on ${machines} machines it needs room for ${least / MIB} MiB on each, and on ${machines - 1} for ${less / MIB} MiB`)
  return withRoom(shape, wish, Math.round((least + less) / 2))
}
