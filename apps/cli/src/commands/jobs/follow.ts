import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT, ExitError } from '@drover/service'
import { ask, jsonOf, reasonOf, type Gateway } from '../../gateway-client.ts'
import { errorIn, textIn } from './said.ts'
import { serverEvents, type ServerEvent } from './server-events.ts'

/** A gateway that is gone may be back, or another one behind the same address; ms. */
const AGAIN_MS = 500
/** Times in a row without an event between them. */
const MOST_TRIES = 20

export interface FollowOptions {
  /** The data of each event, a line each, instead of text. */
  raw: boolean
}

/**
 * Shows an answer as it grows, and goes on where it was when the connection breaks.
 * @throws ExitError when there is no such job, it did not complete, or no gateway answers for long
 */
export const follow = async (gateway: Gateway, path: string, { raw }: FollowOptions): Promise<void> => {
  let last = ''
  let atStart = true
  const show = ({ data, id }: ServerEvent): void => {
    last = id || last
    const failure = errorIn(data)
    if (raw) process.stdout.write(`${data}\n`)
    else if (failure === undefined) {
      const text = textIn(data)
      process.stdout.write(text)
      if (text !== '') atStart = text.endsWith('\n')
    }
    // An error without an id of its own is this gateway's: the job goes on.
    if (failure !== undefined && id !== '') throw new ExitError(`the job ended with an error: ${failure}`, EXIT.failed)
  }
  try {
    for (let tries = 0; ; ) {
      const before = last
      const end = await read(gateway, path, last, show)
      if (end === 'over') return
      tries = last === before ? tries + 1 : 0
      if (tries >= MOST_TRIES) throw new ExitError(`the answer breaks off, and no gateway goes on with it at ${gateway.url} (${end})`, EXIT.failed)
      await sleep(AGAIN_MS)
    }
  } finally {
    if (!raw && !atStart) process.stdout.write('\n')
  }
}

/** Reads on behind an event. Answers `over`, or why it broke off. */
const read = async (gateway: Gateway, path: string, last: string, show: (event: ServerEvent) => void): Promise<string> => {
  const signal = new AbortController().signal
  let response: Response
  try {
    response = await ask(gateway, `${path}?after=${encodeURIComponent(last || '0')}`, { signal })
  } catch (error) {
    // The first time it is likely to be the wrong address.
    if (last === '' || !(error instanceof ExitError) || error.message.includes('key')) throw error
    return error.message
  }
  if (response.status === 204) return 'over'
  if (response.status === 404 || response.status === 400) throw new ExitError(said(await response.text()), EXIT.failed)
  if (!response.ok) return `it answers ${response.status}: ${said(await response.text())}`
  try {
    for await (const event of serverEvents(response)) show(event)
  } catch (error) {
    if (error instanceof ExitError) throw error
    return reasonOf(error)
  }
  // Whether that was the end is asked once more: then it is 204.
  return 'the connection was closed'
}

const said = (body: string): string => {
  const value = jsonOf(body)
  return typeof value === 'object' && value !== null && 'error' in value && typeof value.error === 'string' ? value.error : body.slice(0, 300)
}
