import { toBrokerError } from '@drover/core'
import { dialects } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'
import { readBody } from './read-body.ts'

export interface NativeDeps {
  settings: { bodyLimit: number }
  onError(error: unknown): void
}

/** A POST (or DELETE) of Ollama's own API that is answered by the gateway itself; what `answer` throws is an error in that API's form. */
export const native =
  ({ settings, onError }: NativeDeps, answer: (body: string, c: Context<GatewayEnv>) => Response | Promise<Response>) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    try {
      return await answer(await readBody(c.env.incoming, { limit: settings.bodyLimit }), c)
    } catch (thrown) {
      const error = toBrokerError(thrown)
      if (error.code === 'internal') onError(thrown)
      const { status, contentType, body } = dialects['ollama.chat'].refuse(error)
      return c.body(body, status as 400, { 'content-type': contentType })
    }
  }
