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

/** Resolves when what a gateway tells is so. One that has no word from Redis just now is asked again. */
export const described = (url: string, what: string, is: (told: Described) => boolean): Promise<void> =>
  until(what, async () => {
    await new Promise((resolve) => setTimeout(resolve, 100))
    const told = await desired(url).catch((error: Error) => (error.message.startsWith('503 ') ? undefined : Promise.reject(error)))
    return told !== undefined && is(told)
  }, 60_000)

export const fulfilled = (url: string): Promise<void> => described(url, 'all is as described', (told) => told.fulfilled)

/** The same, and what was done for it is over. */
export const settled = (url: string): Promise<void> => described(url, 'all is as described, and nothing under way', (told) => told.fulfilled && told.actions.length === 0)
