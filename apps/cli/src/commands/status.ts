import { defineConfig, loadConfig } from '@drover/service'
import { readStatus } from '../gateway-client.ts'
import { nodeLines } from '../node-lines.ts'
import { clientSettings, gatewayOf, jsonSetting } from './client-settings.ts'
import { laneName } from './lane-name.ts'
import { NO_NODES } from './nodes.ts'
import { print } from './output.ts'
import { span } from './units.ts'

const statusConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })

/** `drover status`: the nodes that a gateway knows, and the lanes where something waits or runs. */
export const status = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(statusConfig, { argv, usage: 'drover status [--json]' })
  const { text, status } = await readStatus(gatewayOf(values))
  if (values.json) return print(text.trim())
  for (const line of status.nodes.length === 0 ? [NO_NODES] : status.nodes.flatMap(nodeLines)) print(line)
  for (const lane of status.lanes ?? []) {
    const { model, waiting, running, head_age_ms: age, short_of: short, being_brought: brought } = lane
    if (waiting + running === 0) continue
    print(`lane ${model} (${laneName(lane)}): ${waiting} waiting${waiting > 0 ? `, the first for ${span(age)}` : ''}, ${running} running${short === undefined ? '' : `; ${short}`}${brought === undefined ? '' : `; being brought ${brought}`}`)
  }
}
