import { setTimeout as sleep } from 'node:timers/promises'
import { defineConfig, EXIT, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { type Gateway, type NodeStatus, readNode, setDrained } from '../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from './client-settings.ts'
import { print, printJson } from './output.ts'
import { slotsOf } from './places.ts'
import { splitWords } from './words.ts'

const LOOK_MS = 500

const drainConfig = defineConfig('cli', {
  ...clientSettings,
  ...jsonSetting,
  wait: setting({ schema: z.boolean().default(false), describe: 'until nothing runs on the node any more, however long that takes' }),
})
const undrainConfig = defineConfig('cli', { ...clientSettings, ...jsonSetting })

/** The one word of a command. @throws ExitError when there is another number of them */
const oneNode = ([node = '', ...more]: readonly string[], usage: string): string => {
  if (node === '' || more.length > 0) throw new ExitError(`expected one node: ${usage}`)
  return node
}

const running = (node: NodeStatus | undefined): number => (node ? slotsOf(node).busy : 0)

const answers = (count: number): string => `${count} ${count === 1 ? 'answer' : 'answers'}`

/** Looks at the node until nothing runs there. One that has gone meanwhile runs nothing. */
const untilIdle = async (gateway: Gateway, id: string, onChange: (left: number) => void): Promise<NodeStatus | undefined> => {
  for (let last: number | undefined; ; await sleep(LOOK_MS)) {
    const node = await readNode(gateway, id)
    // Until the node itself says that it is drained, it may take another job.
    if (!node || (node.draining && running(node) === 0)) return node
    if (node.drained === false) throw new ExitError(`node ${id} was undrained meanwhile, and takes jobs`, EXIT.failed)
    if (running(node) !== last) onChange(running(node))
    last = running(node)
  }
}

/** `drover drain NODE`: it takes no more jobs, and what runs there goes on; with `--wait` until that has ended. */
export const drain = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover drain NODE [--wait] [--json]'
  const { words, flags } = splitWords(drainConfig.settings, argv)
  const { values } = loadConfig(drainConfig, { argv: flags, usage })
  const id = oneNode(words, usage)
  const gateway = gatewayOf(values)
  const told = await setDrained(gateway, id, true)
  const say = (line: string) => void (values.json || print(line))
  const node = values.wait && told ? await untilIdle(gateway, id, (left) => say(`node ${id} is drained: ${answers(left)} left`)) : told
  if (values.json) return printJson({ id, drained: true, draining: node?.draining ?? null, busy: node ? running(node) : null })
  if (!node) return print(`node ${id} is not there now; it takes no jobs when it comes back, until "drover undrain ${id}"`)
  const left = running(node)
  const rest = left === 0 ? 'nothing runs there' : `${answers(left)} left`
  print(node.draining ? `node ${id} is drained, ${rest}; "drover undrain ${id}" lets it take jobs again` : `node ${id} has not answered yet; it is drained as soon as it does`)
}

/** `drover undrain NODE`: it takes jobs again. */
export const undrain = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover undrain NODE [--json]'
  const { words, flags } = splitWords(undrainConfig.settings, argv)
  const { values } = loadConfig(undrainConfig, { argv: flags, usage })
  const id = oneNode(words, usage)
  const node = await setDrained(gatewayOf(values), id, false)
  if (values.json) return printJson({ id, drained: false, draining: node?.draining ?? null, busy: node ? running(node) : null })
  if (!node) return print(`node ${id} is not there now; it takes jobs when it comes back`)
  print(node.draining ? `node ${id} still drains: it is being stopped, or has not answered yet` : `node ${id} takes jobs again`)
}
