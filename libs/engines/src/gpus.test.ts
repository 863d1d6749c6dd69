import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { machineMemory, readGpus } from './gpus.ts'

/** A program that stands for `nvidia-smi`. */
const program = async (script: string): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-gpus-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'nvidia-smi')
  await writeFile(path, `#!/bin/sh\n${script}\n`)
  await chmod(path, 0o755)
  return path
}

test('GPUs are listed with bytes of their memory', async () => {
  const smi = await program(`test "$1 $2" = "--query-gpu=name,memory.total,memory.free --format=csv,noheader,nounits" || exit 1
echo "NVIDIA GeForce RTX 4090, 24564, 24000"
echo "NVIDIA GB10, [N/A], [N/A]"`)
  expect(await readGpus(undefined, smi)).toEqual([
    { name: 'NVIDIA GeForce RTX 4090', memory: 24_564 * 1024 ** 2, free: 24_000 * 1024 ** 2 },
    { name: 'NVIDIA GB10', memory: 0, free: 0 },
  ])
})

test('a machine without the program, or with one that fails, has no GPUs', async () => {
  expect(await readGpus(undefined, '/nowhere/nvidia-smi')).toEqual([])
  expect(await readGpus(undefined, await program('echo "NVIDIA-SMI has failed, 1, 2"; exit 9'))).toEqual([])
  expect(await readGpus(AbortSignal.abort(), await program('echo "A, 1, 2"'))).toEqual([])
})

test('the machine has memory, and not more of it free than there is', () => {
  const { total, free } = machineMemory()
  expect(free).toBeGreaterThan(0)
  expect(total).toBeGreaterThanOrEqual(free)
})
