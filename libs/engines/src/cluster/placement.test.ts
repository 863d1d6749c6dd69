import type { ClusterMember, ModelShape } from '@drover/core'
import { expect, test } from 'vitest'
import { recorded } from '../recorded.ts'
import { differenceFrom, OWN, placementReader, type Planned } from './placement.ts'

const MIB = 1024 * 1024
const FIRST = '127.0.0.1:50261'
const SECOND = '127.0.0.1:50262'

/** Of the model that the logs were recorded with: 24 layers of 256 numbers. */
const LAYER = 1_312_768
const shape: ModelShape = {
  layers: Array.from({ length: 24 }, () => LAYER), kv: Array.from({ length: 24 }, () => 1_024),
  input: 1_024 * 256 * 2, output: 1_024 * 256 * 2 + 256 * 4, largest: 256 * 512 * 2, embedding: 256, feedForward: 256, vocabulary: 1_024, heads: 4,
}

const placed = (log: string, edit = (text: string) => text) => {
  const { placement, read } = placementReader()
  for (const line of edit(recorded(`cluster-${log}.log`)).split('\n')) read(line)
  return placement
}

const part = (device: string, from: number, to: number, kv: number): Planned => {
  const member: ClusterMember = { node: device, device: 'CPU', from, to, output: to === 24, weights: 0, kv: kv * MIB, compute: 0 }
  return { device, member }
}
const ALL = [part(FIRST, 0, 13, 26), part(SECOND, 13, 24, 22)]
const SWAPPED = [part(SECOND, 0, 13, 6.9), part(FIRST, 13, 24, 5.9)]
const OWN_TOO = [part(OWN, 0, 14, 14), part(FIRST, 14, 21, 7), part(SECOND, 21, 24, 3)]

test('the log tells devices in their order, and bytes of weights, cache and room to compute in by device', () => {
  expect(placed('eleven')).toEqual({
    devices: [FIRST, SECOND],
    offloaded: { layers: 11, of: 25 },
    weights: new Map([[OWN, 18.03 * MIB], [FIRST, 8.76 * MIB], [SECOND, 4.26 * MIB]]),
    kv: new Map([[OWN, 14 * MIB], [FIRST, 7 * MIB], [SECOND, 3 * MIB]]),
    compute: new Map([[FIRST, 5.01 * MIB], [SECOND, 5.01 * MIB], [OWN, 6.52 * MIB]]),
  })
  expect(placed('swapped').devices).toEqual([SECOND, FIRST])
})

test('cards of its own are known by their names, and what cards read of its memory is its own', () => {
  const { placement, read } = placementReader()
  for (const line of [
    '0.00.814.893 I llama_prepare_model_devices: using device CUDA0 (NVIDIA H100 80GB HBM3) (0000:18:00.0) - 80000 MiB free',
    '0.00.830.718 I load_tensors:    CUDA_Host model buffer size =     1.50 MiB',
    '0.00.830.718 I load_tensors:   CPU_REPACK model buffer size =     2.50 MiB',
    '0.00.830.720 I load_tensors:        CUDA0 model buffer size =    16.00 MiB',
    '0.00.830.720 I llama_kv_cache:        CUDA0 KV buffer size =     8.00 MiB',
    '0.00.830.720 I llama_kv_cache:        CUDA0 KV buffer size =     4.00 MiB',
  ]) read(line)
  expect(placement).toMatchObject({ devices: ['CUDA0'], weights: new Map([[OWN, 4 * MIB], ['CUDA0', 16 * MIB]]), kv: new Map([['CUDA0', 12 * MIB]]) })
})

test.each([['all', ALL], ['swapped', SWAPPED], ['eleven', OWN_TOO]] as const)('what came as planned differs in nothing: %s', (log, planned) => {
  expect(differenceFrom(planned, shape, placed(log))).toBeUndefined()
})

test.each([
  ['devices in another order', 'all', SWAPPED, `layers were to go to ${SECOND}, ${FIRST}, and go to ${FIRST}, ${SECOND}`],
  ['a device that got nothing', 'eleven', [part(OWN, 0, 14, 14), part(FIRST, 14, 24, 10)], `layers were to go to ${FIRST}, and go to ${FIRST}, ${SECOND}`],
  ['fewer layers of its own', 'eleven', [part(OWN, 0, 13, 14), part(FIRST, 13, 21, 8), part(SECOND, 21, 24, 3)], '12 of 25 layers were to lie on devices, and 11 of 25 do'],
  ['a layer more here and less there', 'eleven', [part(OWN, 0, 14, 14), part(FIRST, 14, 22, 8), part(SECOND, 22, 24, 2)], `${FIRST} was to have layers 14 to 21 (10.02 MiB), and has layers 14 to 20 (8.76 MiB)`],
  ['more cache than was lent', 'all', [part(FIRST, 0, 13, 13), part(SECOND, 13, 24, 11)], `${FIRST} was to have 13.00 MiB of KV cache, and has 26.00 MiB`],
] as const)('the first difference is named: %s', (_, log, planned, difference) => {
  expect(differenceFrom(planned, shape, placed(log))).toBe(difference)
})

test('a log that does not say how many layers lie on devices, or has no buffer of one, is none of a plan that came', () => {
  expect(differenceFrom(ALL, shape, placed('all', (text) => text.replace(/offloaded \d+/, 'offloaded some')))).toContain('how many do was not said')
  const without = placed('all', (text) => text.replace(/.*50262\] model buffer.*\n/, ''))
  expect(differenceFrom(ALL, shape, without)).toBe(`${SECOND} was to have layers 13 to 23 (14.27 MiB), and has no layers (0.00 MiB)`)
})
