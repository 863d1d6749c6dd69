import { inGigabytes } from '../bytes.ts'
import { besidesOn, devicesOf, HEADROOM } from './devices.ts'
import type { Device } from './devices.ts'
import { costsOf, roomOn } from './parts.ts'
import type { PlanRequest, PlanVerdict } from './plan.ts'
import { coordinatorRoom, layersRoom } from './room.ts'
import { MOST_DEVICES } from './split.ts'

/** Why there is no plan. `asked`: what is wrong with the wish itself. */
export const refusal = (request: PlanRequest, { asked, never }: { asked: string | undefined; never: boolean }): PlanVerdict => {
  const { shape, wish } = request
  const devices = devicesOf(request)
  const needs = sum(costsOf(shape, wish)) + layersRoom(shape, wish, true) + coordinatorRoom(shape, wish)
  const free = sum(devices.map((device) => device.free))
  const lenders = new Set(devices.filter(({ own }) => !own).map(({ node }) => node)).size
  const figures = `needs ${inGigabytes(needs)} with ${tokens(wish.context)} context and ${counted(wish.slots, 'slot')}; ${whoHas(devices, lenders)}`
  const obstacle = free < needs ? undefined : obstacleOf(request, devices)
  return { kind: 'refused', never, needs, free, lenders, reason: asked ?? (obstacle ? `${figures}, but ${obstacle}` : figures) }
}

/** What is in the way although the sum would do. */
const obstacleOf = (request: PlanRequest, devices: readonly Device[]): string | undefined => {
  const { shape, wish } = request
  const first = devices.find(({ group }) => group === 0)
  if (first && first.usable < 0) return `${first.node} needs ${inGigabytes(coordinatorRoom(shape, wish))} of its own for token embeddings and the program, and has ${inGigabytes(first.free)}`
  const rooms = devices.map((device) => ({ device, room: roomOn(device, request, false) })).toSorted((a, b) => b.room - a.room)
  const [roomiest] = rooms
  if (!roomiest) return undefined
  const besides = besidesOn(roomiest.device, request, false)
  const costs = costsOf(shape, wish)
  const output = costs.at(-1) ?? 0
  const layer = Math.max(0, ...costs.slice(0, -1))
  const largest = Math.max(layer, output)
  if (largest > roomiest.room) {
    const takes = inGigabytes(largest + besides)
    return `its ${layer >= output ? 'largest layer takes' : 'output takes'} ${takes} with cache and room to compute, and no device may give more than ${inGigabytes(roomiest.device.usable)}`
  }
  if (sum(rooms.slice(0, MOST_DEVICES).map(({ room }) => room)) < sum(costs) && rooms.length > MOST_DEVICES) return `it would take more than ${MOST_DEVICES} devices, and llama.cpp spreads a model over no more`
  return `no split into whole layers fits: every part takes ${inGigabytes(besides)} more to compute in, and ${Math.round((wish.headroom ?? HEADROOM) * 100)} % of each device stay free`
}

const whoHas = (devices: readonly Device[], lenders: number): string => {
  const free = `${inGigabytes(sum(devices.map((device) => device.free)))} free`
  const own = devices.some((device) => device.own)
  if (lenders === 0) return own ? `nobody lends memory, and the coordinator has ${free}` : 'nobody lends memory'
  return `${own ? 'the coordinator and ' : ''}${counted(lenders, 'lender')} ${own || lenders > 1 ? 'have' : 'has'} ${free}`
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)
const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`
/** `8k`, where it is a whole number of them. */
const tokens = (count: number): string => (count >= 1_024 && count % 1_024 === 0 ? `${count / 1_024}k` : String(count))
