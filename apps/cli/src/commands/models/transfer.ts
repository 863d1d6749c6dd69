import { defineConfig, EXIT, ExitError, loadConfig, setting, type Settings } from '@drover/service'
import { z } from 'zod'
import { ask, type Gateway, jsonOf, reasonOf } from '../../gateway-client.ts'
import { clientSettings, gatewayOf } from '../client-settings.ts'
import { lines, refusal } from '../lines.ts'
import { outputWidth, print } from '../output.ts'
import { splitWords } from '../words.ts'
import { Bars, Steps } from './bars.ts'
import { nodesHeader, nodesSetting } from './nodes-setting.ts'

/** Exit code of a program that Ctrl-C has ended. */
export const INTERRUPTED = 130

const Line = z.object({ status: z.string().optional(), digest: z.string().optional(), total: z.number().optional(), completed: z.number().optional(), error: z.string().optional() })

/** Of every command that shows lines as they come. */
export const linesSettings = {
  ...clientSettings,
  ...nodesSetting,
  json: setting({ schema: z.boolean().default(false), describe: 'the lines as they come, one JSON document each' }),
} satisfies Settings
const transferSettings = { ...linesSettings, insecure: setting({ schema: z.boolean().default(false), describe: 'the registry may be reached without TLS' }) }

const pullConfig = defineConfig('cli', { ...transferSettings, replicas: setting({ schema: z.int().min(1).max(1_000).optional(), describe: 'nodes that are to have it, those that hold it already included' }), label: setting({ schema: z.array(z.string().regex(/^[\w.-]+=[\w./-]*$/, 'expected name=value')).default([]), describe: 'only nodes with this label, name=value; may be given several times' }) })
const pushConfig = defineConfig('cli', transferSettings)
const nodeName = z.string().regex(/^[\w.-]{1,64}$/, 'expected the name of a node')
const copyConfig = defineConfig('cli', {
  ...clientSettings,
  from: setting({ schema: nodeName.optional(), describe: 'the node whose copy it is; else the best that has one' }),
  to: setting({ schema: nodeName.optional(), describe: 'the node that is to have it' }),
  json: transferSettings.json,
})

/** Shows lines as they come: bars on a terminal, which are drawn anew, and text elsewhere. */
const shower = (): ((progress: { status: string; digest?: string | undefined; total?: number | undefined; completed?: number | undefined }) => void) => {
  if (!process.stdout.isTTY) {
    const steps = new Steps()
    return (progress) => {
      const line = steps.take(progress)
      if (line !== undefined) print(line)
    }
  }
  const bars = new Bars()
  let drawn = 0
  return (progress) => {
    bars.take(progress)
    // What has left the screen above cannot be drawn anew.
    const rows = bars.lines(outputWidth() - 1).slice(-Math.max(1, (process.stdout.rows || 24) - 1))
    process.stdout.write(`${drawn > 0 ? `\u001B[${drawn}A` : ''}${rows.map((row) => `\r\u001B[K${row}\n`).join('')}`)
    drawn = rows.length
  }
}

interface Asked {
  path: string
  body: object
  headers: Record<string, string>
  raw: boolean
}

/** Closing the connection, by Ctrl-C, ends it for this client: when nobody else waits for it, the engine stops. */
export const showLines = async (gateway: Gateway, { path, body, headers, raw }: Asked): Promise<void> => {
  const interrupted = new AbortController()
  process.once('SIGINT', () => interrupted.abort())
  const show = shower()
  try {
    const response = await ask(gateway, path, { signal: interrupted.signal, body: JSON.stringify(body), headers })
    if (!response.ok) throw new ExitError(refusal(await response.text()), EXIT.failed)
    for await (const line of lines(response)) {
      const parsed = Line.safeParse(jsonOf(line))
      if (!parsed.success) throw new ExitError(`what answers at ${gateway.url} sent something that is no line of a ${path.slice(5)}`, EXIT.failed)
      const { error, status, ...more } = parsed.data
      if (raw) print(line)
      if (error !== undefined) throw new ExitError(error, EXIT.failed)
      if (status !== undefined && !raw) show({ status, ...more })
      if (status === 'success') return
    }
  } catch (error) {
    if (interrupted.signal.aborted) return void (process.exitCode = INTERRUPTED)
    throw error instanceof ExitError ? error : new ExitError(`the connection to ${gateway.url} broke before it was done (${reasonOf(error)})`, EXIT.failed)
  }
  throw new ExitError('it stopped without its end: it is not whole', EXIT.failed)
}

/** @throws ExitError where there is none, or more */
export const oneModel = ([model = '', ...more]: readonly string[], usage: string): string => {
  if (model === '' || more.length > 0) throw new ExitError(`expected one model: ${usage}`)
  return model
}

/** `drover pull MODEL`: brings it to as many nodes as are to have it. */
export const pull = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover pull MODEL [--replicas N] [--node NAME]…'
  const { words, flags } = splitWords(pullConfig.settings, argv)
  const { values } = loadConfig(pullConfig, { argv: flags, usage })
  const { replicas, insecure, node, json: raw } = values
  const labels = Object.fromEntries(values.label.map((label) => [label.slice(0, label.indexOf('=')), label.slice(label.indexOf('=') + 1)]))
  await showLines(gatewayOf(values), { path: '/api/pull', body: { model: oneModel(words, usage), insecure, ...(replicas !== undefined && { replicas }), ...(values.label.length > 0 && { labels }) }, headers: nodesHeader(node), raw })
}

/** `drover push MODEL`: from a node that holds it. */
export const push = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover push MODEL [--node NAME]'
  const { words, flags } = splitWords(pushConfig.settings, argv)
  const { values } = loadConfig(pushConfig, { argv: flags, usage })
  const { insecure, node, json: raw } = values
  await showLines(gatewayOf(values), { path: '/api/push', body: { model: oneModel(words, usage), insecure }, headers: nodesHeader(node), raw })
}

/** `drover transfer MODEL --to NODE`: from one node to another, without its registry. */
export const transfer = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover transfer MODEL --to NODE [--from NODE]'
  const { words, flags } = splitWords(copyConfig.settings, argv)
  const { values } = loadConfig(copyConfig, { argv: flags, usage })
  const { from, to, json: raw } = values
  if (to === undefined) throw new ExitError(`to which node? ${usage}`)
  await showLines(gatewayOf(values), { path: '/api/transfer', body: { model: oneModel(words, usage), to, ...(from !== undefined && { from }) }, headers: {}, raw })
}
