import { defineConfig, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { clientSettings, gatewayOf } from '../client-settings.ts'
import { print } from '../output.ts'
import { splitWords } from '../words.ts'
import { change } from './change.ts'
import { nodesHeader, nodesSetting } from './nodes-setting.ts'
import { linesSettings, oneModel, showLines } from './transfer.ts'

const loadingConfig = defineConfig('cli', {
  ...linesSettings,
  replicas: setting({ schema: z.int().min(1).max(1_000).optional(), describe: 'nodes that are to have it in memory; else one' }),
  // Not `keepAlive` and `numCtx`: in the environment those are the worker's.
  loadKeepAlive: setting({ flag: 'keep-alive', schema: z.string().min(1).optional(), describe: 'how long it stays in memory without use, like 10m, or -1 for good; else as the node has it' }),
  loadNumCtx: setting({ flag: 'num-ctx', schema: z.int().min(1).optional(), describe: 'its context, tokens per slot; else as the node has it' }),
})
const unloadConfig = defineConfig('cli', { ...clientSettings, ...nodesSetting })

/** A number alone is seconds, which the API takes as a number only. */
const keepAliveOf = (text: string): string | number => (/^-?\d+$/.test(text) ? Number(text) : text)

/** `drover load MODEL`: into the memory of the best node that holds it, or of those that are named. */
export const load = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover load MODEL [--node NAME]… [--replicas N] [--keep-alive TIME] [--num-ctx TOKENS]'
  const { words, flags } = splitWords(loadingConfig.settings, argv)
  const { values } = loadConfig(loadingConfig, { argv: flags, usage })
  const { node, replicas, loadKeepAlive: keepAlive, loadNumCtx: numCtx, json: raw } = values
  const wish = { ...(replicas !== undefined && { replicas }), ...(keepAlive !== undefined && { keep_alive: keepAliveOf(keepAlive) }), ...(numCtx !== undefined && { num_ctx: numCtx }) }
  await showLines(gatewayOf(values), { path: '/api/load', body: { model: oneModel(words, usage), ...wish }, headers: nodesHeader(node), raw })
}

/** `drover unload MODEL…`: out of the memory of all nodes, or of those that are named. */
export const unload = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover unload MODEL… [--node NAME]…'
  const { words, flags } = splitWords(unloadConfig.settings, argv)
  const { values } = loadConfig(unloadConfig, { argv: flags, usage })
  if (words.length === 0) throw new ExitError(`which model? ${usage}`)
  for (const model of words) {
    await change(gatewayOf(values), { path: '/api/unload', body: { model, stream: false }, headers: nodesHeader(values.node) })
    print(`unloaded ${model}`)
  }
}
