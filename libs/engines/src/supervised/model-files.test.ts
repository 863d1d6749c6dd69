import { appendFile, copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { memoryNeeded } from './memory.ts'
import { ggufFilesIn, modelFiles } from './model-files.ts'

const SMALL = fileURLToPath(new URL('../../../../deploy/model/drover-small.gguf', import.meta.url))

const folder = async () => {
  const path = await mkdtemp(join(tmpdir(), 'drover-gguf-'))
  onTestFinished(() => rm(path, { recursive: true }))
  const leftOut: string[] = []
  const read = modelFiles(() => ggufFilesIn(path), (file, reason) => void leftOut.push(`${file} ${reason}`))
  return { path, read, leftOut, at: (name: string) => join(path, name) }
}

test('the header tells what a model is and what it takes', async () => {
  const { read, at } = await folder()
  await copyFile(SMALL, at('Drover Small_Q8.gguf'))
  await writeFile(at('readme.txt'), 'not looked at')
  const [model, ...more] = await read()
  expect(more).toEqual([])
  const { size } = await readFile(SMALL).then(({ length }) => ({ size: length }))
  // The figures are those of the model's card.
  expect(model).toMatchObject({
    model: 'drover-small_q8:latest',
    size,
    facts: {
      architecture: 'llama', parameters: 2_853_312, quantization: 'Q8_0', contextLength: 1_024, embeddingLength: 192,
      embedding: false, template: { tools: true }, wholeBytes: size,
      // Key and value of 192 numbers in each of six layers, two bytes each.
      shape: { kv: Array.from({ length: 6 }, () => 2 * 192 * 2), embedding: 192, vocabulary: 1_024, heads: 6, contextLength: 1_024 },
    },
  })
  // Layers, each as large as the others, and embeddings that serve as the output, too, are all of the file but its header.
  const { layers = [], input = 0, output = 0 } = model?.facts.shape ?? {}
  expect(new Set(layers).size).toBe(1)
  const weights = layers.reduce((sum, bytes) => sum + bytes, output)
  expect(size - weights).toBeGreaterThan(10_000)
  expect(size - weights).toBeLessThan(100_000)
  expect(output - input).toBe(192 * 4)
  if (model) expect(memoryNeeded(model, { slots: 2, ctx: 1_024 }) - memoryNeeded(model, { slots: 1, ctx: 1_024 })).toBe(4_608 * 1_024)
})

test('the header’s entries are kept as they can be shown', async () => {
  const { read, at } = await folder()
  await copyFile(SMALL, at('small.gguf'))
  const [model] = await read()
  expect(model?.facts.metadata).toMatchObject({ 'general.architecture': 'llama', 'llama.context_length': 1_024, 'llama.block_count': 6, 'tokenizer.ggml.tokens': [] })
  expect(model?.facts.template?.text).toContain('<|im_start|>')
  expect(Object.keys(model?.facts.metadata ?? {})).not.toContain('tokenizer.chat_template')
  expect(JSON.stringify(model?.facts.metadata).length).toBeLessThan(8_000)
})

test('what is cut off, no GGUF or in parts is left out with one reason each, until it is whole', async () => {
  const { read, leftOut, at } = await folder()
  const bytes = await readFile(SMALL)
  await writeFile(at('empty.gguf'), '')
  await writeFile(at('header.gguf'), bytes.subarray(0, 3_000))
  await writeFile(at('weights.gguf'), bytes.subarray(0, bytes.length - 1))
  await writeFile(at('text.gguf'), 'a text of some length that is no model')
  await copyFile(SMALL, at('parts-00001-of-00002.gguf'))
  expect(await read()).toEqual([])
  expect(await read()).toEqual([])
  expect(leftOut).toEqual([
    expect.stringMatching(/^empty\.gguf is not whole/),
    expect.stringMatching(/^header\.gguf is not whole/),
    expect.stringMatching(/^parts-00001-of-00002\.gguf only 1 of its 2 parts/),
    expect.stringMatching(/^text\.gguf not a valid gguf file/),
    expect.stringMatching(/^weights\.gguf is not whole/),
  ])
  await appendFile(at('weights.gguf'), bytes.subarray(bytes.length - 1))
  await copyFile(SMALL, at('parts-00002-of-00002.gguf'))
  const models = await read()
  expect(models.map(({ model, path }) => [model, path])).toEqual([
    ['parts:latest', at('parts-00001-of-00002.gguf')],
    ['weights:latest', at('weights.gguf')],
  ])
  expect(models[0]).toMatchObject({ size: 2 * bytes.length, facts: { parameters: 2 * 2_853_312, shape: { layers: models[1]?.facts.shape.layers.map((bytes) => 2 * bytes) } } })
  expect(leftOut).toHaveLength(5)
})

test('two files that would be called the same are one model, and a folder that is not there is an error that names it', async () => {
  const { read, leftOut, at, path } = await folder()
  await copyFile(SMALL, at('A.gguf'))
  await copyFile(SMALL, at('a.gguf'))
  expect((await read()).map((model) => model.path)).toEqual([at('A.gguf')])
  expect(leftOut).toEqual(['a.gguf another file is called a:latest already'])
  await expect(ggufFilesIn(join(path, 'none'))).rejects.toMatchObject({ code: 'engine_failed', message: expect.stringMatching(/none cannot be read \(ENOENT\).*DROVER_MODELS_DIR/) })
})

test('a header that claims more than there is costs some seconds at most, and the other files are read', async () => {
  const { read, leftOut, at } = await folder()
  // GGUF 3 with ten million tensors and a hundred thousand entries, and nothing behind it.
  const header = Buffer.alloc(24)
  header.write('GGUF')
  header.writeUInt32LE(3, 4)
  header.writeBigUInt64LE(10_000_000n, 8)
  header.writeBigUInt64LE(100_000n, 16)
  await writeFile(at('claims.gguf'), header)
  await copyFile(SMALL, at('good.gguf'))
  expect((await read()).map(({ model }) => model)).toEqual(['good:latest'])
  expect(leftOut).toHaveLength(1)
}, 20_000)
