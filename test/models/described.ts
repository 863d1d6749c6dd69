import { until } from '../support/drover.ts'
import { send } from '../support/raw.ts'

interface Change {
  action: string
  model: string
  node: string
}

export interface Described {
  version: number
  desired: { models: Record<string, object>; prune: boolean }
  fulfilled: boolean
  drift: { model: string; text: string }[]
  planned: Change[]
  actions: Change[]
  failures: (Change & { error: string; tries: number })[]
  gateway: string | null
}

/** Asks a gateway which models are to be where, or tells it. */
export const desired = async (url: string, state?: object, query = ''): Promise<Described> => {
  const { status, text } = await send(`${url}/api/models/desired${query}`, state ? { method: 'PUT', body: JSON.stringify(state) } : { method: 'GET' })
  if (status !== 200) throw new Error(`${status} ${text}`)
  return JSON.parse(text) as Described
}

export const fulfilled = (url: string): Promise<void> => until('all is as described', async () => (await desired(url)).fulfilled, 60_000)
