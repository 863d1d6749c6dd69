import { canonicalName } from '@drover/core'
import { defineConfig, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { type Gateway, readTags } from '../../gateway-client.ts'
import { clientSettings, gatewayOf } from '../client-settings.ts'
import { notHere } from '../show.ts'
import { splitWords } from '../words.ts'
import { answer, figures } from './answer.ts'
import { chat } from './chat.ts'
import { once, questionIn } from './once.ts'
import { chatBody, type ChatSettings, type Message, readOptions } from './request.ts'
import { terminalView } from './view.ts'

const runConfig = defineConfig('cli', {
  ...clientSettings,
  system: setting({ schema: z.string().optional(), describe: 'what the model is told before everything else' }),
  option: setting({ schema: z.array(z.string()).default([]), describe: 'an option of the model, like temperature=0; may be given several times' }),
  think: setting({
    schema: z.union([z.boolean(), z.enum(['true', 'false', 'low', 'medium', 'high', 'max'])]).optional(),
    describe: 'let the model think before it answers, or not: --think, --think=false, --think=high',
  }),
  hideThinking: setting({ schema: z.boolean().default(false), describe: 'do not show what it thinks' }),
  verbose: setting({ schema: z.boolean().default(false), describe: 'timings, node and attempts after each answer, on standard error' }),
  json: setting({ schema: z.boolean().default(false), describe: 'the events as they come, one JSON document a line' }),
})
const USAGE = 'drover run MODEL [PROMPT…]'

/** `drover run`: asks a model once, or talks with it. */
export const run = async (argv: readonly string[]): Promise<void> => {
  const { words, flags } = splitWords(runConfig.settings, argv)
  const { values } = loadConfig(runConfig, { argv: flags, usage: USAGE })
  const [model, ...prompt] = words
  if (model === undefined) throw new ExitError(`which model? ${USAGE}; "drover list" shows what there is`)
  const gateway = gatewayOf(values)
  const think = values.think === 'true' ? true : values.think === 'false' ? false : values.think
  const settings: ChatSettings = { model, system: values.system, options: readOptions(values.option), think }
  const view = terminalView({ raw: values.json, hideThinking: values.hideThinking })

  const reply = async (messages: readonly Message[], signal: AbortSignal): Promise<string> => {
    let text = ''
    const keeping = { ...view, text: (piece: string) => ((text += piece), view.text(piece)) }
    try {
      const whole = await answer(gateway, chatBody(settings, messages), signal, keeping)
      view.end()
      if (values.verbose) for (const line of figures(whole)) process.stderr.write(`${line}\n`)
    } catch (error) {
      view.end()
      if (!signal.aborted) throw error
    }
    return text
  }

  const question = await questionIn(prompt)
  if (question !== '') return once(question, reply)
  if (process.stdin.isTTY !== true) throw new ExitError(`nothing to ask: give a prompt, or pipe one in: ${USAGE}`)

  await mustBeHere(gateway, model)
  process.stderr.write('Send a message, or /? for help.\n')
  await chat({ input: process.stdin, output: process.stderr, terminal: true, answer: reply })
}

/** @throws ExitError before anything is typed for a model that is not there */
const mustBeHere = async (gateway: Gateway, model: string): Promise<void> => {
  const tags = await readTags(gateway)
  const name = canonicalName(model)
  if (!tags.some((tag) => tag.name === name)) throw notHere(`model '${model}' not found`, tags)
}
