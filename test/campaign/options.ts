import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { FAULT_NAMES, type FaultName } from './schedule.ts'

export interface FaultsOptions {
  minutes: number
  seed: number
  only: FaultName[] | undefined
  dir: string | undefined
  appendfsync: 'everysec' | 'always'
  clients: number
  /** Lines of a batch that is handed in while all this goes on; 0: none. */
  batch: number
  /** Where histories, logs and the verdict go. */
  folder: string | undefined
  /** Not a campaign: the checker is checked, with mutations whose names begin so (all: ''). */
  mutate: string | undefined
}

export const USAGE = `npm run faults -- [--minutes M] [--seed N] [--only NAMES] [--appendfsync always] [--clients N] [--batch N] [--against DIR] [--folder DIR]

Gateways, workers, engines and a Redis as processes of their own, clients of all kinds, and faults that a seed has chosen; then an
offline checker decides from the history whether the promises were kept. The exit code is 1 when one was not.

  --minutes M     how long faults are done, 3 by default
  --seed N        which faults, when and to what, and which clients; any by default, and it is printed
  --only NAMES    some of ${FAULT_NAMES.join(', ')}
  --appendfsync   of Redis: everysec (default) or always
  --clients N     clients at once, 40 by default
  --batch N       a batch of so many lines is handed in beside them, none by default
  --against DIR   the gateway and worker of another checkout
  --folder DIR    where the history goes, .drover/faults/<time> by default

npm run faults -- --mutate [NAME] [--seed N] [--against DIR] [--folder DIR]

Takes away one check of the scripts at a time (of those whose names begin with NAME), in a copy of the checkout, and does a short
campaign on each copy. The exit code is 1 when the checker has not found one, or has found something where nothing was missing.`

const number = (text: string | undefined, name: string, from: number, to: number): number | undefined => {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!(value >= from && value <= to)) throw new Error(`--${name} takes a number from ${from} to ${to}`)
  return value
}

/** @throws Error with the reason, for a command line that is not one */
export const readOptions = (args: string[]): FaultsOptions | 'help' => {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = { minutes: text, seed: text, only: text, appendfsync: text, clients: text, batch: text, against: text, folder: text, mutate: flag, help: flag }
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
  if (values.help) return 'help'
  if (positionals.length > (values.mutate ? 1 : 0)) throw new Error(`"${positionals.join(' ')}" belongs to nothing`)
  const idle = (['minutes', 'only', 'appendfsync', 'clients', 'batch'] as const).filter((name) => values.mutate && values[name] !== undefined)
  if (idle.length > 0) throw new Error(`--mutate chooses its own --${idle.join(', --')}`)
  const only = values.only?.split(',').map((name) => {
    const known = FAULT_NAMES.find((each) => each === name.trim())
    if (!known) throw new Error(`--only knows ${FAULT_NAMES.join(', ')}, not "${name}"`)
    return known
  })
  const { appendfsync = 'everysec' } = values
  if (appendfsync !== 'everysec' && appendfsync !== 'always') throw new Error('--appendfsync is everysec or always')
  return {
    minutes: number(values.minutes, 'minutes', 0.2, 1_440) ?? 3,
    seed: Math.floor(number(values.seed, 'seed', 0, 2 ** 32 - 1) ?? Math.random() * 1e6),
    only,
    dir: values.against === undefined ? undefined : resolve(values.against),
    appendfsync,
    batch: Math.floor(number(values.batch, 'batch', 0, 50_000) ?? 0),
    clients: Math.floor(number(values.clients, 'clients', 1, 500) ?? 40),
    folder: values.folder === undefined ? undefined : resolve(values.folder),
    mutate: values.mutate ? (positionals[0] ?? '') : undefined,
  }
}
