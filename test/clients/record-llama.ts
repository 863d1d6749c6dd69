import { writeFile } from 'node:fs/promises'
import { callOf, LLAMA_CASES, ownCall, type LlamaCase } from '../../libs/dialects/src/testing/llama-cases.ts'
import { startLlamaKinds } from '../support/llama-kinds.ts'

// Records anew what a real llama-server answers to the cases in libs/dialects/src/testing/llama-cases.ts:
//   DROVER_LLAMA_SERVER=PATH node test/clients/record-llama.ts [NAME ...]

const FOLDER = new URL('../../libs/dialects/src/recorded/llama/', import.meta.url)

type Call = ReturnType<typeof callOf>

const said = async (url: string, { path, body }: Call): Promise<string> => {
  const answer = await fetch(url + path, { method: 'POST', body: JSON.stringify(body), headers: { connection: 'close' } })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${path} answered with ${answer.status}: ${text}`)
  return text
}

/** The engine's own body, and what it streams to Drover for a stream and for a body, where these are streams and differ. */
const record = async (theCase: LlamaCase, url: string): Promise<void> => {
  const { name } = theCase
  const [own, forStream, forBody] = [ownCall(theCase), callOf(theCase, true), callOf(theCase, false)]
  await said(url, own) // so that each of the answers finds the prompt in the cache, and so is computed alike
  await writeFile(new URL(`${name}.json`, FOLDER), await said(url, own))
  if (forStream.body['stream'] !== true) return
  await writeFile(new URL(`${name}.sse`, FOLDER), await said(url, forStream))
  if (JSON.stringify(forBody) !== JSON.stringify(forStream)) await writeFile(new URL(`${name}.body.sse`, FOLDER), await said(url, forBody))
}

const { urls, stop } = await startLlamaKinds()
try {
  const wanted = process.argv.slice(2)
  for (const theCase of LLAMA_CASES) if (wanted.length === 0 || wanted.includes(theCase.name)) await record(theCase, urls[theCase.server])
} finally {
  await stop()
}
