import { request } from 'undici'
import { until } from '../support/drover.ts'
import { send, type RawAnswer } from '../support/raw.ts'

export const ASYNC = { prefer: 'respond-async' }

/** A job as a gateway shows it. */
export interface Shown {
  id: string
  state: string
  owner: string
  dialect: string
  model: string
  class: string
  stream: boolean
  background: boolean
  position: number | null
  expected_start_at: string | null
  node: string | null
  attempts: number
  created_at: string
  started_at: string | null
  first_token_at: string | null
  ended_at: string | null
  deadline_at: string
  expires_at: string | null
  usage: { prompt_tokens: number; completion_tokens: number } | null
  short_of: string | null
  being_brought: string | null
  error: { code: string; message: string; status: number } | null
}

/** Posts JSON to any route. */
export const postTo = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<RawAnswer> => send(url, { body: JSON.stringify(body), headers })

/** Hands a request in and answers the id of its job. @throws Error when it is not accepted */
export const handIn = async (gateway: string, path: string, body: unknown, headers: Record<string, string> = {}): Promise<string> => {
  const answer = await postTo(gateway + path, body, { ...ASYNC, ...headers })
  if (answer.status !== 202) throw new Error(`${path} answered ${answer.status}: ${answer.text}`)
  return (JSON.parse(answer.text) as { id: string }).id
}

export const show = async (gateway: string, id: string): Promise<Shown> => JSON.parse((await send(`${gateway}/api/jobs/${id}`, { method: 'GET' })).text) as Shown

export const untilState = (gateway: string, id: string, state: string): Promise<void> =>
  until(`job ${id} is ${state}`, async () => (await show(gateway, id)).state === state)

/** What a job answers, once it has ended. */
export const resultOf = async (gateway: string, id: string): Promise<RawAnswer> => {
  for (;;) {
    const answer = await send(`${gateway}/api/jobs/${id}/result`, { method: 'GET' })
    if (answer.status !== 409) return answer
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export interface ListAnswer {
  jobs: Shown[]
  next_cursor: string | null
}

export const listOf = async (gateway: string, query: Record<string, string> = {}, headers: Record<string, string> = {}): Promise<ListAnswer> => {
  const answer = await send(`${gateway}/api/jobs?${new URLSearchParams(query).toString()}`, { method: 'GET', headers })
  if (answer.status !== 200) throw new Error(`the list answered ${answer.status}: ${answer.text}`)
  return JSON.parse(answer.text) as ListAnswer
}

/** A request that can be left before it is answered. */
export const leaving = (url: string, body: unknown, headers: Record<string, string> = {}) => {
  const abort = new AbortController()
  const answer = request(url, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers }, signal: abort.signal })
  answer.catch(() => undefined)
  return { answer, leave: () => abort.abort() }
}

const OWN = new Set(['id', 'item_id', 'created', 'created_at', 'completed_at', 'system_fingerprint', 'total_duration', 'load_duration', 'prompt_eval_duration', 'eval_duration', 'timings'])
const common = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(common)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(Object.entries(value).filter(([name]) => !OWN.has(name)).map(([name, inner]) => [name, common(inner)]))
      : value

const asJson = (text: string): unknown => {
  try {
    return common(JSON.parse(text))
  } catch {
    return text
  }
}

/** An answer without what is different each time: who it is, and when it was. */
export const essence = ({ status, headers, text }: RawAnswer) => ({
  status,
  type: headers['content-type'],
  said: text.split('\n').map((line) => (line.startsWith('data: ') ? asJson(line.slice('data: '.length)) : asJson(line))),
})
