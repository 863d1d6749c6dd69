import OpenAI, { toFile } from 'openai'
import { expect } from 'vitest'
import { verifyText } from '../engine/tokens.ts'
import { until } from '../support/drover.ts'

export const clientOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 })

export interface LineOptions {
  model?: string
  script?: string
  /** Further fields of the body. */
  fields?: Record<string, unknown>
}

export const chatLine = (id: string, { model = 'scripted:latest', script = 'tokens=5', fields = {} }: LineOptions = {}): string =>
  `${JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body: { model, messages: [{ role: 'user', content: `job=${id} ${script}` }], ...fields } })}\n`

export const uploadText = async (openai: OpenAI, text: string) => openai.files.create({ file: await toFile(Buffer.from(text), 'in.jsonl'), purpose: 'batch' })

export const submit = async (openai: OpenAI, text: string, endpoint: OpenAI.BatchCreateParams['endpoint'] = '/v1/chat/completions') =>
  openai.batches.create({ input_file_id: (await uploadText(openai, text)).id, endpoint, completion_window: '24h' })

export interface OutputLine {
  id: string
  custom_id: string
  response: { status_code: number; request_id: string; body: { choices?: { message: { content: string } }[]; error?: { message: string } } } | null
  error: { code: string; message: string } | null
}

export const readLines = (text: string): OutputLine[] => text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as OutputLine)

const ENDS = new Set(['completed', 'failed', 'expired', 'cancelled'])

/** Waits until a batch has ended; whoever is asked may change. */
export const ended = async (client: () => OpenAI, id: string, ms = 50_000): Promise<OpenAI.Batch> => {
  let batch: OpenAI.Batch | undefined
  await until(`batch ${id} has ended`, async () => ENDS.has((batch = await client().batches.retrieve(id).catch(() => batch))?.status ?? ''), ms).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(batch)}`)
  })
  return batch!
}

/** The lines of both files of a batch that has ended; none of a file that there is not. */
export const resultsOf = async (openai: OpenAI, batch: OpenAI.Batch): Promise<{ output: OutputLine[]; errors: OutputLine[] }> => {
  const read = async (id: string | null | undefined) => (id ? readLines(await (await openai.files.content(id)).text()) : [])
  return { output: await read(batch.output_file_id), errors: await read(batch.error_file_id) }
}

/** Every request stands exactly once in the two files, and the counts say the same. */
export const expectOnce = (batch: OpenAI.Batch, { output, errors }: { output: OutputLine[]; errors: OutputLine[] }, ids: readonly string[]): void => {
  expect([...output, ...errors].map(({ custom_id: id }) => id).toSorted()).toEqual(ids.toSorted())
  const { total, completed, failed, cancelled, expired } = batch.request_counts as unknown as Record<string, number>
  expect(total).toBe(ids.length)
  expect(completed).toBe(output.length)
  expect(completed! + failed! + cancelled! + expired!).toBe(total)
}

/** Each answer is exactly its own tokens. */
export const expectAnswers = (output: readonly OutputLine[], tokens: number): void => {
  const wrong = output.filter(({ custom_id: id, response }) => {
    const verdict = verifyText(id, response?.body.choices?.[0]?.message.content ?? '')
    return response?.status_code !== 200 || !verdict.ok || verdict.count !== tokens
  })
  expect(wrong.slice(0, 3)).toEqual([])
}
