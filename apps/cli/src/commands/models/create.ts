import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import { defineConfig, EXIT, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { reasonOf } from '../../gateway-client.ts'
import { gatewayOf } from '../client-settings.ts'
import { splitWords } from '../words.ts'
import { ModelfileError, parseModelfile, type Modelfile } from './modelfile.ts'
import { nodesHeader } from './nodes-setting.ts'
import { linesSettings, oneModel, transfer } from './transfer.ts'

const createConfig = defineConfig('cli', {
  ...linesSettings,
  from: setting({ schema: z.string().min(1).optional(), describe: 'the model that it is made from; it goes before FROM of the Modelfile' }),
  file: setting({ schema: z.string().min(1).optional(), describe: 'a Modelfile, -f for short, or - for what is piped in' }),
})

const modelfileAt = async (path: string): Promise<Modelfile> => {
  const text = await (path === '-' ? readAll(process.stdin) : readFile(path, 'utf8')).catch((error: unknown) => {
    throw new ExitError(`${path} cannot be read: ${reasonOf(error)}`)
  })
  try {
    return parseModelfile(text)
  } catch (error) {
    throw error instanceof ModelfileError ? new ExitError(`${path}, ${error.message}`, EXIT.failed) : error
  }
}

/** `drover create NAME`: makes a model from another, with what a Modelfile says. */
export const create = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover create NAME --from MODEL [-f Modelfile] [--node NAME]…'
  const { words, flags } = splitWords(createConfig.settings, argv.map((word) => (word === '-f' ? '--file' : word)))
  const { values } = loadConfig(createConfig, { argv: flags, usage })
  const model = oneModel(words, usage)
  const file = values.file === undefined ? {} : await modelfileAt(values.file)
  const from = values.from ?? file.from
  if (from === undefined) throw new ExitError(values.file === undefined ? `from which model? ${usage}` : `${values.file} has no FROM, and there is no --from: ${usage}`)
  await transfer(gatewayOf(values), { path: '/api/create', body: { ...file, model, from }, headers: nodesHeader(values.node), raw: values.json })
}
