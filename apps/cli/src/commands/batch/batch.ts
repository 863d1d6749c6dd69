import { defineConfig, EXIT, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import type { Gateway } from '../../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { outputWidth, print, printJson } from '../output.ts'
import { type Column, tableLines } from '../table.ts'
import { splitWords } from '../words.ts'
import { type Batch, cancelBatch, createBatch, hasEnded, readBatch, readBatches, show, upload } from './batch-client.ts'
import { endpointOf } from './input.ts'
import { progressLine } from './progress.ts'
import { runBatch } from './run.ts'

const USAGE = `drover batch run IN.jsonl -o OUT.jsonl [--resume]
       drover batch submit IN.jsonl
       drover batch list
       drover batch status|results|cancel BATCH`

const batchConfig = defineConfig('cli', {
  ...clientSettings,
  ...jsonSetting,
  output: setting({ schema: z.string().min(1).optional(), describe: 'of run: where the answers go, -o for short; lines without one go to a file beside it' }),
  resume: setting({ schema: z.boolean().default(false), describe: 'of run: go on with the batch that an earlier run has left' }),
  errors: setting({ schema: z.boolean().default(false), describe: 'of results: the lines without an answer instead of the answers' }),
})

const columns: Column<Batch>[] = [
  { title: 'BATCH', cell: ({ id }) => id },
  { title: 'STATUS', cell: ({ status }) => status },
  { title: 'DONE', cell: ({ request_counts: counts }) => (counts ? `${counts.completed}/${counts.total}` : ''), right: true },
  { title: 'FAILED', cell: ({ request_counts: counts }) => (counts ? `${counts.failed}` : ''), right: true },
  { title: 'ENDPOINT', cell: ({ endpoint }) => endpoint },
  { title: 'CREATED', cell: ({ created_at: at }) => new Date(1_000 * at).toISOString().replace('.000', '') },
]

const LISTED = 50

interface Asked {
  gateway: Gateway
  /** The one word behind the command's name, '' for none. */
  word: string
  values: { json: boolean; output?: string | undefined; resume: boolean; errors: boolean }
}

const tell = (batch: Batch, json: boolean): void => (json ? printJson(batch) : print(`${batch.id}: ${progressLine(batch, [])}`))

const results = async ({ gateway, word, values }: Asked): Promise<void> => {
  const batch = await readBatch(gateway, word)
  const file = values.errors ? batch.error_file_id : batch.output_file_id
  if (file) return show(gateway, file)
  if (!hasEnded(batch)) throw new ExitError(`batch ${word} has no ${values.errors ? 'errors' : 'answers'} yet: ${progressLine(batch, [])}`, EXIT.failed)
}

const commands: Record<string, (asked: Asked) => Promise<void>> = {
  async run({ gateway, word, values: { output, resume } }) {
    if (output === undefined) throw new ExitError(`where do the answers go? ${USAGE}`)
    await runBatch(gateway, { input: word, output, resume })
  },
  async submit({ gateway, word, values }) {
    const endpoint = await endpointOf(word)
    const batch = await createBatch(gateway, await upload(gateway, word), endpoint)
    if (values.json) printJson(batch)
    else print(batch.id)
  },
  status: async ({ gateway, word, values }) => tell(await readBatch(gateway, word), values.json),
  results,
  cancel: async ({ gateway, word, values }) => tell(await cancelBatch(gateway, word), values.json),
  async list({ gateway, values }) {
    const batches = await readBatches(gateway, LISTED)
    if (values.json) return printJson({ batches })
    for (const line of tableLines(columns, batches, outputWidth())) print(line)
  },
}

/** `drover batch …`: many requests in a file, and their answers in another. */
export const batch = async (argv: readonly string[]): Promise<void> => {
  const { words, flags } = splitWords(batchConfig.settings, argv.map((word) => (word === '-o' ? '--output' : word)))
  const { values } = loadConfig(batchConfig, { argv: flags, usage: USAGE })
  const [name = '', word = '', ...more] = words
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command || more.length > 0 || (word === '') !== (name === 'list')) throw new ExitError(`usage: ${USAGE}`)
  await command({ gateway: gatewayOf(values), word, values })
}
