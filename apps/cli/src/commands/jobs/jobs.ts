import { defineConfig, EXIT, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { ask, readJson, type Gateway } from '../../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { outputWidth, print, printJson } from '../output.ts'
import { type Column, tableLines } from '../table.ts'
import { span } from '../units.ts'
import { splitWords } from '../words.ts'
import { follow as followJob } from './follow.ts'

/** The part of a job that the commands show; `--json` passes on what the gateway says. */
const Job = z.looseObject({
  id: z.string(),
  state: z.string(),
  owner: z.string(),
  dialect: z.string(),
  model: z.string(),
  class: z.string(),
  position: z.number().nullable(),
  expected_start_at: z.string().nullable(),
  short_of: z.string().nullish(),
  being_brought: z.string().nullish(),
  node: z.string().nullable(),
  attempts: z.number(),
  created_at: z.string(),
  started_at: z.string().nullable(),
  first_token_at: z.string().nullable(),
  ended_at: z.string().nullable(),
  expires_at: z.string().nullable(),
  usage: z.object({ prompt_tokens: z.number(), completion_tokens: z.number() }).nullable(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
})
type Job = z.infer<typeof Job>
const Page = z.object({ jobs: z.array(Job), next_cursor: z.string().nullable() })

const common = { ...clientSettings, ...jsonSetting }
const text = (describe: string) => setting({ schema: z.string().optional(), describe })
const jobConfig = defineConfig('cli', common)
const listConfig = defineConfig('cli', {
  ...common,
  state: text('only those that are queued, running, completed, failed, cancelled or expired'),
  model: text('only those of this model'),
  after: text('only those that were handed in then or later, as 2026-11-28T12:00:00Z'),
  before: text('only those that were handed in before'),
  owner: text('only those of this owner, for a key that may see all'),
  limit: setting({ schema: z.int().min(1).max(10_000).default(20), describe: 'how many, the newest first' }),
})

/** Most jobs that a gateway tells at once. */
const PAGE = 100

const columns = (now: number): Column<Job>[] => [
  { title: 'JOB', cell: ({ id }) => id },
  { title: 'STATE', cell: ({ state, position }) => (position === null ? state : `${state} (${position} before it)`) },
  { title: 'MODEL', cell: ({ model }) => model },
  { title: 'NODE', cell: ({ node }) => node ?? '' },
  { title: 'TOKENS', cell: ({ usage }) => (usage ? `${usage.completion_tokens}` : ''), right: true },
  { title: 'TOOK', cell: (job) => tookOf(job, now), right: true },
  { title: 'AGE', cell: ({ created_at: at }) => span(Math.max(0, now - Date.parse(at))), right: true },
]

const tookOf = ({ started_at: from, ended_at: to }: Job, now: number): string => (from === null ? '' : span(Math.max(0, (to === null ? now : Date.parse(to)) - Date.parse(from))))

/** `drover jobs list`. */
const list = async (argv: readonly string[]): Promise<void> => {
  const { values } = loadConfig(listConfig, { argv, usage: 'drover jobs list [--state STATE] [--model MODEL] [--limit N] [--json]' })
  const { state, model, after, before, owner, limit } = values
  const filters = Object.entries({ state, model, after, before, owner }).filter((entry): entry is [string, string] => entry[1] !== undefined)
  const jobs: Job[] = []
  for (let cursor: string | null = ''; cursor !== null && jobs.length < limit; ) {
    const query = new URLSearchParams([...filters, ['limit', `${Math.min(PAGE, limit - jobs.length)}`], ...(cursor === '' ? [] : [['cursor', cursor] as [string, string]])])
    const { value }: { value: z.infer<typeof Page> } = await readJson(gatewayOf(values), `/api/jobs?${query.toString()}`, Page)
    jobs.push(...value.jobs)
    cursor = value.next_cursor
  }
  if (values.json) return printJson({ jobs })
  if (jobs.length === 0) return print('no jobs: what is handed in with "Prefer: respond-async" is listed here')
  for (const line of tableLines(columns(Date.now()), jobs, outputWidth())) print(line)
}

const pathOf = (id: string): string => `/api/jobs/${encodeURIComponent(id)}`

const read = (argv: readonly string[], usage: string) => {
  const { words, flags } = splitWords(jobConfig.settings, argv)
  const { values } = loadConfig(jobConfig, { argv: flags, usage })
  if (words.length === 0) throw new ExitError(`which job? ${usage}; "drover jobs list" shows what there is`)
  return { ids: words, json: values.json, gateway: gatewayOf(values) }
}

const one = (argv: readonly string[], usage: string) => {
  const { ids, ...rest } = read(argv, usage)
  if (ids.length > 1) throw new ExitError(`expected one job: ${usage}`)
  return { id: ids[0]!, ...rest }
}

const rowsOf = (job: Job): [string, string | number | null][] => [
  ['job', job.id],
  ['state', job.position === null ? job.state : `${job.state}, ${job.position} before it`],
  ['model', job.model],
  ['dialect', job.dialect],
  ['class', job.class],
  ['owner', job.owner],
  ['node', job.node],
  ['attempts', job.attempts],
  ['handed in', job.created_at],
  ['expected start', job.expected_start_at],
  ['short of', job.short_of ?? null],
  ['being brought', job.being_brought ?? null],
  ['started', job.started_at],
  ['first token', job.first_token_at],
  ['ended', job.ended_at],
  ['kept until', job.expires_at],
  ['tokens', job.usage && `${job.usage.prompt_tokens} read, ${job.usage.completion_tokens} written`],
  ['error', job.error && `${job.error.message} (${job.error.code})`],
]

const shown = (job: Job): void => {
  for (const [name, value] of rowsOf(job)) if (value !== null) print(`${`${name}:`.padEnd(16)}${value}`)
}

/** `drover jobs show JOB`. */
const show = async (argv: readonly string[]): Promise<void> => {
  const { id, json, gateway } = one(argv, 'drover jobs show JOB [--json]')
  const { value } = await readJson(gateway, pathOf(id), Job)
  if (json) printJson(value)
  else shown(value)
}

/** `drover jobs follow JOB`: its answer from the beginning, while it grows. */
const follow = async (argv: readonly string[]): Promise<void> => {
  const { id, json, gateway } = one(argv, 'drover jobs follow JOB [--json]')
  await followJob(gateway, `${pathOf(id)}/stream`, { raw: json })
}

/** Ends a job; what it is then, or `undefined` for one that had ended before, of which nothing is touched. */
const cancelOne = async (gateway: Gateway, id: string): Promise<Job | undefined> => {
  const { value } = await readJson(gateway, pathOf(id), Job)
  if (value.ended_at !== null) return undefined
  const response = await ask(gateway, pathOf(id), { signal: AbortSignal.timeout(10_000), method: 'DELETE' })
  const job = response.status === 200 ? Job.safeParse(await response.json()) : undefined
  if (!job?.success) throw new ExitError(`the gateway at ${gateway.url} answers ${response.status} to the cancelling of ${id}`, EXIT.failed)
  return job.data
}

/** `drover jobs cancel JOB…`. */
const cancel = async (argv: readonly string[]): Promise<void> => {
  const { ids, json, gateway } = read(argv, 'drover jobs cancel JOB… [--json]')
  const jobs: Job[] = []
  for (const id of ids) {
    const job = await cancelOne(gateway, id)
    if (job) jobs.push(job)
    if (!json) print(job ? `${id} is ${job.state}` : `${id} had ended already`)
  }
  if (json) printJson({ jobs })
}

const COMMANDS: Record<string, (argv: readonly string[]) => Promise<void>> = { list, show, follow, cancel }

/** `drover jobs list|show|follow|cancel`: a thin client of `/api/jobs`. */
export const jobs = async ([name = '', ...argv]: readonly string[]): Promise<void> => {
  const run = COMMANDS[name]
  if (!run) throw new ExitError(`expected a command: drover jobs ${Object.keys(COMMANDS).join('|')}`, name === '--help' || name === '-h' ? 0 : undefined)
  await run(argv)
}
