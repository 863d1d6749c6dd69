import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { DesiredState, writtenOf } from '@drover/core'
import { defineConfig, EXIT, ExitError, loadConfig, readDocument, setting } from '@drover/service'
import { z } from 'zod'
import type { Gateway } from '../../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { print, printJson } from '../output.ts'
import { splitWords } from '../words.ts'
import { changeText, describe, readDescribed, type Described } from './described.ts'

const fileSettings = {
  ...clientSettings,
  ...jsonSetting,
  empty: setting({ schema: z.boolean().default(false), describe: 'describe nothing any more, in place of a file' }),
  prune: setting({ schema: z.boolean().optional(), describe: 'delete copies that were brought and are no longer wanted, whatever the file says' }),
}
const diffConfig = defineConfig('cli', fileSettings)
const applyConfig = defineConfig('cli', { ...fileSettings, wait: setting({ schema: z.boolean().default(false), describe: 'end when all of it is so' }) })

/** How often it is looked how far it is, ms. */
const LOOK_MS = 500
/** Longest that nobody answers while it is waited for, ms. */
const AWAY_MS = 30_000

/** What a file describes, as it is sent. @throws ExitError that names lines and fields */
const stateIn = (path: string): object => {
  const { value, whereIs } = readDocument(path)
  const parsed = DesiredState.safeParse(value ?? {})
  if (parsed.success) return writtenOf(parsed.data)
  const problems = parsed.error.issues.map(({ path: field, message, ...issue }) => {
    const [unknown] = 'keys' in issue ? issue.keys : []
    const whole = unknown === undefined ? field : [...field, unknown]
    return `${whereIs(whole)}: ${whole.join('.') || 'the file'}: ${unknown === undefined ? message : 'is not known'}`
  })
  throw new ExitError(problems.join('\n'), EXIT.refused)
}

const given = ([file, ...more]: readonly string[], { empty, prune }: { empty: boolean; prune?: boolean | undefined }, usage: string): object => {
  if (more.length > 0 || (file === undefined) !== empty) throw new ExitError(`expected one file, or --empty: ${usage}`)
  return { ...(file === undefined ? { models: {} } : stateIn(file)), ...(prune !== undefined && { prune }) }
}

const tell = ({ planned, drift, fulfilled }: Described): void => {
  for (const change of planned) print(changeText(change))
  const silent = drift.filter(({ model }) => !planned.some((change) => change.model === model))
  for (const { text } of silent) print(text)
  if (fulfilled) print('nothing is to be done')
}

/** Tells what goes wrong, each thing once, and ends when all is as described. */
const untilFulfilled = async (gateway: Gateway): Promise<Described> => {
  const told = new Set<string>()
  let heardAt = performance.now()
  for (;; await sleep(LOOK_MS)) {
    // A gateway may be started anew meanwhile, or have no word from Redis.
    const described = await readDescribed(gateway).catch((error: unknown) => {
      if (performance.now() - heardAt > AWAY_MS) throw error
    })
    if (!described) continue
    heardAt = performance.now()
    if (described.fulfilled) return described
    for (const { error, ...change } of described.failures) {
      const line = `${changeText(change)}: ${error}`
      if (!told.has(line)) process.stderr.write(`${stripVTControlCharacters(line)}\n`)
      told.add(line)
    }
  }
}

/** `drover models apply FILE`: from now on these models are to be where it says. */
export const apply = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover models apply FILE|--empty [--prune] [--wait] [--json]'
  const { words, flags } = splitWords(applyConfig.settings, argv)
  const { values } = loadConfig(applyConfig, { argv: flags, usage })
  const gateway = gatewayOf(values)
  const described = await describe(gateway, given(words, values, usage))
  if (!values.json) tell(described)
  const last = values.wait ? await untilFulfilled(gateway) : described
  if (values.json) printJson(last)
  else if (values.wait && !described.fulfilled) print('done')
}

/** `drover models diff FILE`: what would be done. */
export const diff = async (argv: readonly string[]): Promise<void> => {
  const usage = 'drover models diff FILE|--empty [--prune] [--json]'
  const { words, flags } = splitWords(diffConfig.settings, argv)
  const { values } = loadConfig(diffConfig, { argv: flags, usage })
  const described = await describe(gatewayOf(values), given(words, values, usage), { dry: true })
  if (values.json) printJson(described)
  else tell(described)
}
