import { send, type RawAnswer } from '../support/raw.ts'

/** The gateway's own key in these tests. */
export const OPERATOR_KEY = 'the-operator-of-these-tests'

/** `''`: nobody. */
export const bearer = (key = ''): Record<string, string> => (key === '' ? {} : { authorization: `Bearer ${key}` })

export interface Made {
  id: string
  /** What its holder sends. */
  key: string
}

/** Makes a key at a gateway. @throws Error when it is refused */
export const makeKey = async (url: string, wish: object, by = OPERATOR_KEY): Promise<Made> => {
  const { status, text } = await send(`${url}/api/keys`, { body: JSON.stringify({ name: 'test', ...wish }), headers: bearer(by) })
  if (status !== 201) throw new Error(`no key was made: ${status} ${text}`)
  return JSON.parse(text) as Made
}

export const get = (url: string, path: string, key?: string): Promise<RawAnswer> => send(url + path, { method: 'GET', headers: bearer(key) })

/** What a key may is otherwise from now on; answers as the gateway does. */
export const setKey = (url: string, id: string, change: object, by = OPERATOR_KEY): Promise<RawAnswer> =>
  send(`${url}/api/keys/${id}`, { method: 'PATCH', body: JSON.stringify(change), headers: bearer(by) })
