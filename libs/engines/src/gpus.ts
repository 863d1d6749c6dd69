import { execFile } from 'node:child_process'
import { freemem, totalmem } from 'node:os'
import { promisify } from 'node:util'
import type { NodeRecord } from '@drover/core'

const run = promisify(execFile)
const MIB = 1024 * 1024

/**
 * This machine's NVIDIA GPUs, in bytes of their memory; none where `nvidia-smi` is absent, fails or takes more than 3 s. A GPU
 * that shares the machine's memory reports none of its own: it is listed with 0.
 */
export const readGpus = async (signal?: AbortSignal, command = 'nvidia-smi'): Promise<NodeRecord['gpus']> => {
  const query = ['--query-gpu=name,memory.total,memory.free', '--format=csv,noheader,nounits']
  try {
    const { stdout } = await run(command, query, { timeout: 3_000, killSignal: 'SIGKILL', ...(signal ? { signal } : {}) })
    return stdout.split('\n').flatMap(gpuOf)
  } catch {
    return []
  }
}

/** `name, total, free` in MiB. */
const gpuOf = (line: string): NodeRecord['gpus'] => {
  const [, name, total, free] = /^(.+), *([^,]+), *([^,]+)$/.exec(line.trim()) ?? []
  return name === undefined ? [] : [{ name, memory: bytesOf(total), free: bytesOf(free) }]
}

const bytesOf = (mebibytes: string | undefined): number => (Number(mebibytes) || 0) * MIB

/** Bytes of this machine's memory; `free` is what could be had without swapping. */
export const machineMemory = (): NonNullable<NodeRecord['memory']> => ({ total: totalmem(), free: freemem() })
