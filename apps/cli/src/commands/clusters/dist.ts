import { canonicalName } from '@drover/core'
import { defineConfig, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { clientSettings, gatewayOf } from '../client-settings.ts'
import { answer, type Answer } from '../run/answer.ts'
import { once, questionIn } from '../run/once.ts'
import { chatBody, readOptions } from '../run/request.ts'
import { terminalView } from '../run/view.ts'
import { splitWords } from '../words.ts'
import { type Cluster, perSecond, readClusters } from './clusters.ts'

const distConfig = defineConfig('cli', {
  ...clientSettings,
  system: setting({ schema: z.string().optional(), describe: 'what the model is told before everything else' }),
  option: setting({ schema: z.array(z.string()).default([]), describe: 'an option of the model, like temperature=0; may be given several times' }),
  json: setting({ schema: z.boolean().default(false), describe: 'the events as they come, one JSON document a line' }),
})
const USAGE = 'drover dist MODEL PROMPT…'

/** Who had which part in an answer, and how fast it was. */
export const madeBy = (model: string, { end, headers }: Answer, clusters: readonly Cluster[]): string => {
  const coordinator = headers.get('x-drover-node')
  // Several nodes may have had it, one after the other, where one of them died.
  const cluster = clusters.findLast((each) => each.model === canonicalName(model) && each.coordinator === coordinator)
  const members = cluster?.members.map(({ node, from, to, total }) => `${node} (${to - from} layers, ${(total / 1e9).toFixed(1)} GB)`)
  const { eval_count: tokens = 0, eval_duration: ns = 0 } = end
  return `over ${members?.join(', ') ?? `nodes that ${coordinator ?? 'its coordinator'} no longer tells`}: ${tokens} tokens${ns > 0 ? `, ${perSecond((tokens * 1e9) / ns)}` : ''}`
}

/** `drover dist MODEL PROMPT`: asks a model that is to run over several nodes, and tells which had a part in it. */
export const dist = async (argv: readonly string[]): Promise<void> => {
  const { words, flags } = splitWords(distConfig.settings, argv)
  const { values } = loadConfig(distConfig, { argv: flags, usage: USAGE })
  const [model, ...prompt] = words
  if (model === undefined) throw new ExitError(`which model? ${USAGE}; "drover list" shows what there is`)
  const question = await questionIn(prompt)
  if (question === '') throw new ExitError(`nothing to ask: give a prompt, or pipe one in: ${USAGE}`)
  const gateway = gatewayOf(values)
  const body = { model, system: values.system, options: { ...readOptions(values.option), distributed: true } }
  const view = terminalView({ raw: values.json, hideThinking: false })
  await once(question, async (messages, signal) => {
    try {
      const whole = await answer(gateway, chatBody(body, messages), signal, view)
      view.end()
      process.stderr.write(`${madeBy(model, whole, await readClusters(gateway))}\n`)
    } catch (error) {
      view.end()
      if (!signal.aborted) throw error
    }
  })
}
