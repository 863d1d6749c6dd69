import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import { defineConfig, EXIT, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { reasonOf, type Gateway } from '../../gateway-client.ts'
import { gatewayOf } from '../client-settings.ts'
import { splitWords } from '../words.ts'
import { ModelfileError, parseModelfile, type Modelfile } from './modelfile.ts'
import { nodesHeader } from './nodes-setting.ts'
import { sendFile } from './send-file.ts'
import { INTERRUPTED, linesSettings, oneModel, showLines } from './transfer.ts'

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

/** Sends the files of a Modelfile, whose paths are relative to its folder; by name, the digest of each. */
const sent = async (gateway: Gateway, modelfile: string, paths: readonly string[] = []): Promise<{ [name: string]: string } | undefined> => {
  if (paths.length === 0) return undefined
  const interrupted = new AbortController()
  const stop = () => interrupted.abort(new ExitError('interrupted', INTERRUPTED))
  process.once('SIGINT', stop)
  const digests: Record<string, string> = {}
  for (const path of paths) {
    const at = path.startsWith('~/') ? join(homedir(), path.slice(2)) : resolve(modelfile === '-' ? '.' : dirname(modelfile), path)
    const name = basename(at)
    if (digests[name] !== undefined) throw new ExitError(`two files are called ${name}`)
    if (process.stderr.isTTY) process.stderr.write(`sending ${name}\n`)
    digests[name] = await sendFile(gateway, at, interrupted.signal)
  }
  process.off('SIGINT', stop)
  return digests
}

/** `drover create NAME`: makes a model from another or of files, with what a Modelfile says. */
export const create = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover create NAME [--from MODEL] [-f Modelfile] [--node NAME]…'
  const { words, flags } = splitWords(createConfig.settings, argv.map((word) => (word === '-f' ? '--file' : word)))
  const { values } = loadConfig(createConfig, { argv: flags, usage })
  const model = oneModel(words, usage)
  const file: Modelfile = values.file === undefined ? {} : await modelfileAt(values.file)
  const { files: weights, adapters: paths, from: named, ...fields } = file
  const from = values.from ?? named
  if (from === undefined && !weights) throw new ExitError(values.file === undefined ? `from which model? ${usage}` : `${values.file} has no FROM, and there is no --from: ${usage}`)
  const gateway = gatewayOf(values)
  const place = values.file ?? '-'
  const [files, adapters] = [await sent(gateway, place, values.from === undefined ? weights : undefined), await sent(gateway, place, paths)]
  await showLines(gateway, { path: '/api/create', body: { ...fields, model, ...(from !== undefined && { from }), ...(files && { files }), ...(adapters && { adapters }) }, headers: nodesHeader(values.node), raw: values.json })
}
