import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { callOf, canStream, fileOf, OLLAMA_CASES, ownCall, ownFileOf, waysOf, type Call, type OllamaCase } from '../../libs/dialects/src/testing/ollama-cases.ts'
import { writeTinyModel } from '../gguf/tiny-model.ts'
import { startLlamaServer } from '../support/llama-server.ts'

// Records anew what a real Ollama, and a real llama-server, answer to the cases in libs/dialects/src/testing/ollama-cases.ts:
//   OLLAMA_CONTEXT_LENGTH=1024 ollama serve
//   DROVER_OLLAMA=http://127.0.0.1:11434 DROVER_LLAMA_SERVER=PATH node test/clients/record-ollama.ts
// Makes models called small, thinker and embed there.

const RECORDED = new URL('../../libs/dialects/src/recorded/', import.meta.url)
const SMALL = new URL('../../deploy/model/drover-small.gguf', import.meta.url)
const ollama = process.env['DROVER_OLLAMA']
if (!ollama) throw new Error('DROVER_OLLAMA must be the URL of an Ollama')

/** Its thoughts are parsed by what stands around them in the template. */
const THINKS = [
  '{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>\n{{ end }}',
  '<|im_start|>assistant\n{{ if .Think }}<think>{{ end }}',
].join('')

const post = async (url: string, body: string | Buffer): Promise<string> => {
  const answer = await fetch(url, { method: 'POST', body, headers: { connection: 'close' } })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${url} answered with ${answer.status}: ${text}`)
  return text
}

const create = async (model: string, file: Buffer, more: object = {}): Promise<void> => {
  const digest = `sha256:${createHash('sha256').update(file).digest('hex')}`
  const blob = `${ollama}/api/blobs/${digest}`
  // One that it has it does not read.
  if (!(await fetch(blob, { method: 'HEAD' })).ok) await post(blob, file)
  const said = await post(`${ollama}/api/create`, JSON.stringify({ model, files: { 'model.gguf': digest }, ...more }))
  if (!said.includes('"success"')) throw new Error(`${model} was not made: ${said}`)
}

const folder = await mkdtemp(join(tmpdir(), 'drover-record-'))
const tiny = join(folder, 'embed.gguf')
await writeTinyModel({ path: tiny, pooling: 1 })
const small = await readFile(SMALL)
await create('small', small)
await create('thinker', small, { template: THINKS, parameters: { stop: ['<|im_end|>'] } })
await create('embed', await readFile(tiny))
const llama = {
  small: await startLlamaServer({ model: SMALL.pathname, alias: 'small' }),
  embed: await startLlamaServer({ model: tiny, alias: 'embed', extraArgs: ['--embeddings', '--pooling', 'mean'] }),
}

const record = async ({ name }: OllamaCase, url: string, { path, body }: Call, file: string): Promise<void> => {
  // Twice, so that every answer finds its prompt in the cache, and its model in memory.
  if (!name.endsWith('load')) await post(url + path, JSON.stringify(body))
  await writeFile(new URL(file, RECORDED), await post(url + path, JSON.stringify(body)))
}

try {
  for (const old of await readdir(new URL('ollama/', RECORDED))) await rm(new URL(`ollama/${old}`, RECORDED))
  for (const theCase of OLLAMA_CASES)
    for (const stream of canStream(theCase) ? [true, false] : [false]) {
      const own = ownFileOf(theCase, stream)
      await record(theCase, ollama, ownCall(theCase, stream), own)
      for (const way of waysOf(theCase)) {
        const call = callOf(theCase, way, stream)
        const url = way === 'llama' ? (theCase.model === 'embed' ? llama.embed.url : llama.small.url) : ollama
        if (call && !/\.own\.\w+$/.test(fileOf(theCase, way, call))) await record(theCase, url, call, fileOf(theCase, way, call))
      }
    }
} finally {
  await Promise.all([llama.small.stop(), llama.embed.stop()])
  await rm(folder, { recursive: true })
}
