import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ollamaFolders, ollamaStore } from './ollama-store.ts'

const DIGEST = 'a'.repeat(64)
const layer = (kind: string, digest = DIGEST) => ({ mediaType: `application/vnd.ollama.image.${kind}`, digest: `sha256:${digest}`, size: 1 })

const store = async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-ollama-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const leftOut: string[] = []
  const put = async (name: string, manifest: unknown): Promise<void> => {
    const path = join(folder, 'manifests', name)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, typeof manifest === 'string' ? manifest : JSON.stringify(manifest))
  }
  const models = ollamaStore([join(folder, 'not there'), folder], (model, reason) => leftOut.push(`${model} ${reason}`))
  return { folder, put, leftOut, models }
}

test('a model of the store is the blob that its manifest names, under Ollama’s own name for it', async () => {
  const { folder, put, leftOut, models } = await store()
  await put('registry.ollama.ai/library/llama3.2/3b', { layers: [layer('model'), layer('template', 'b'.repeat(64)), layer('params')] })
  await put('registry.ollama.ai/somebody/tuned/latest', { layers: [layer('model')] })
  await put('hf.co/Some-Body/Tuned-GGUF/Q4_K_M', { layers: [layer('model')] })
  const path = join(folder, 'blobs', `sha256-${DIGEST}`)
  expect((await models()).map((each) => [each.model, each.path, each.digest])).toEqual([
    ['hf.co/some-body/tuned-gguf:q4_k_m', path, DIGEST],
    ['llama3.2:3b', path, DIGEST],
    ['somebody/tuned:latest', path, DIGEST],
  ])
  expect(leftOut).toEqual([])
})

test('what is not simply one file is left out with one reason, until it is', async () => {
  const { put, leftOut, models } = await store()
  await put('registry.ollama.ai/library/sees/latest', { layers: [layer('model'), layer('projector')] })
  await put('registry.ollama.ai/library/tuned/latest', { layers: [layer('model'), layer('adapter')] })
  await put('registry.ollama.ai/library/cloud/latest', { layers: [layer('params')] })
  expect(await models()).toEqual([])
  expect(await models()).toEqual([])
  expect(leftOut.toSorted()).toEqual([
    'cloud:latest its weights lie in 0 files',
    'sees:latest reads images with a projector, a file of its own',
    'tuned:latest has an adapter, a file of its own',
  ])
  await put('registry.ollama.ai/library/tuned/latest', { layers: [layer('model')] })
  expect(await models()).toMatchObject([{ model: 'tuned:latest' }])
  expect(leftOut).toHaveLength(3)
})

test('a manifest cannot lead out of the store', async () => {
  const { folder, put, leftOut, models } = await store()
  await put('registry.ollama.ai/library/up/latest', { layers: [{ ...layer('model'), digest: 'sha256:../../../../etc/passwd' }] })
  await put('registry.ollama.ai/library/long/latest', { layers: [{ ...layer('model'), digest: `sha256:${DIGEST}/../x` }] })
  await put('registry.ollama.ai/library/no/latest', 'no JSON')
  await put('registry.ollama.ai/library/huge/latest', `${' '.repeat(70_000)}${JSON.stringify({ layers: [layer('model')] })}`)
  await put('registry.ollama.ai/library/-rf/latest', { layers: [layer('model')] })
  await symlink(join(folder, 'manifests'), join(folder, 'manifests', 'registry.ollama.ai', 'library', 'round'))
  expect(await models()).toEqual([])
  expect(leftOut.toSorted()).toEqual(['long', 'no', 'up'].map((name) => `${name}:latest its manifest cannot be read`))
})

test('a store lies where Ollama was told to keep it, else in one of its usual places', () => {
  expect(ollamaFolders('/elsewhere', '/home/x')).toEqual(['/elsewhere'])
  expect(ollamaFolders(undefined, '/home/x')).toContain('/home/x/.ollama/models')
})
