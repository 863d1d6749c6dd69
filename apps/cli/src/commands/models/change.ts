import { defineConfig, EXIT, ExitError, loadConfig } from '@drover/service'
import { ask, type Gateway } from '../../gateway-client.ts'
import { clientSettings, gatewayOf } from '../client-settings.ts'
import { refusal } from '../lines.ts'
import { print } from '../output.ts'
import { splitWords } from '../words.ts'
import { nodesHeader, nodesSetting } from './nodes-setting.ts'

const changeConfig = defineConfig('cli', { ...clientSettings, ...nodesSetting })

interface Change {
  path: string
  method?: 'DELETE'
  body: object
  headers: Record<string, string>
}

/** It may wait for what is under way on the same model, so there is no time limit. @throws ExitError with the gateway's words */
export const change = async (gateway: Gateway, { path, method, body, headers }: Change): Promise<void> => {
  const response = await ask(gateway, path, { signal: new AbortController().signal, body: JSON.stringify(body), headers, ...(method && { method }) })
  if (!response.ok) throw new ExitError(refusal(await response.text()), EXIT.failed)
}

/** `drover rm MODEL…`: on all nodes that hold it. */
export const rm = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover rm MODEL… [--node NAME]…'
  const { words, flags } = splitWords(changeConfig.settings, argv)
  const { values } = loadConfig(changeConfig, { argv: flags, usage })
  if (words.length === 0) throw new ExitError(`which model? ${usage}`)
  for (const model of words) {
    await change(gatewayOf(values), { path: '/api/delete', method: 'DELETE', body: { model }, headers: nodesHeader(values.node) })
    print(`deleted ${model}`)
  }
}

/** `drover cp SOURCE DESTINATION`: on all nodes that hold it. */
export const cp = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover cp SOURCE DESTINATION [--node NAME]…'
  const { words, flags } = splitWords(changeConfig.settings, argv)
  const { values } = loadConfig(changeConfig, { argv: flags, usage })
  const [source, destination, ...more] = words
  if (source === undefined || destination === undefined || more.length > 0) throw new ExitError(`expected a model and its other name: ${usage}`)
  await change(gatewayOf(values), { path: '/api/copy', body: { source, destination }, headers: nodesHeader(values.node) })
  print(`copied ${source} to ${destination}`)
}
