import { toBrokerError } from '@drover/core'
import { dialects } from '@drover/dialects'
import type { Context } from 'hono'
import type { Admission } from './admission.ts'
import type { GatewayEnv } from './app.ts'
import { retryHeaders } from './reply.ts'

export interface RefuseDeps {
  admission: Pick<Admission, 'retryAfterMs'>
  onError(error: unknown): void
}

/** What a route that the gateway answers itself has thrown, as a whole answer in the form of its API, with `Retry-After` where the caller may come again. */
export const refuseHere = (c: Context<GatewayEnv>, thrown: unknown, { admission, onError }: RefuseDeps, dialect: 'ollama.chat' | 'openai.chat' | 'anthropic.messages' = 'ollama.chat'): Response => {
  const error = toBrokerError(thrown)
  if (error.code === 'internal') onError(thrown)
  const { status, contentType, body } = dialects[dialect].refuse(error, c.get('headers')['x-request-id'])
  const retryMs = error.retry === 'caller' ? admission.retryAfterMs(error) : undefined
  return c.body(body, status as 400, {
    'content-type': contentType,
    ...(retryMs !== undefined && retryHeaders(retryMs)),
  })
}
