import type { ClusterPlan } from './plan.ts'

/** `--tensor-split` takes fewer numbers than llama.cpp's `llama_max_devices()`, which is 16. */
export const MOST_DEVICES = 15

/** The coordinator's processor: for llama.cpp it is no device that layers are moved to, but where the others stay. */
export const isOwnProcessor = (coordinator: string, { node, device }: { node: string; device: string }): boolean =>
  node === coordinator && device === 'CPU'

/** What llama-server is told, so that the layers lie as planned. */
export interface Split {
  /** `--n-gpu-layers`: the layers that do not stay with the coordinator's processor, the output being one. */
  gpuLayers: number
  /** `--tensor-split`: of them those on each device. */
  tensorSplit: number[]
  /** `--device`, in this order; none: `--device none`. */
  devices: { node: string; device: string }[]
}

/**
 * llama.cpp lays out the layers and, as one more behind them, the output: the last `gpuLayers` of them over the devices in their order,
 * by shares of the sum of `tensorSplit`; what comes before stays. With whole numbers whose sum is `gpuLayers` the shares are exact
 * (`load_tensors` in llama-model.cpp).
 */
export const splitOf = ({ coordinator, members }: ClusterPlan): Split => {
  const moved = members.filter((member) => !isOwnProcessor(coordinator, member))
  const tensorSplit = moved.map(({ from, to, output }) => to - from + (output ? 1 : 0))
  return {
    gpuLayers: tensorSplit.reduce((sum, layers) => sum + layers, 0),
    tensorSplit,
    devices: moved.map(({ node, device }) => ({ node, device })),
  }
}
