import { defineConfig, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { readStatus } from './gateway-client.ts'
import { nodeLines } from './node-lines.ts'

const statusConfig = defineConfig('cli', {
  url: setting({ schema: z.url({ protocol: /^https?$/ }).default('http://127.0.0.1:11435'), describe: 'a gateway' }),
  apiKey: setting({ schema: z.string().optional(), describe: 'the key that the gateway asks for', section: 'gateway', secret: true }),
  json: setting({ schema: z.boolean().default(false), describe: 'the gateway’s whole answer, as JSON' }),
})

/** `drover status`: the nodes that a gateway knows. */
export const status = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(statusConfig, { argv, usage: 'drover status [settings]' })
  const { text, status } = await readStatus(values)
  if (values.json) console.log(text.trim())
  else if (status.nodes.length === 0) console.log('no nodes: start a worker where the models are, with "drover worker"')
  else for (const line of status.nodes.flatMap(nodeLines)) console.log(line)
}
