import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'
import { readBody } from './read-body.ts'
import { refuseHere, type RefuseDeps } from './refuse-here.ts'

export interface NativeDeps extends RefuseDeps {
  settings: { bodyLimit: number }
}

/** A POST (or DELETE) of Ollama's own API that is answered by the gateway itself; what `answer` throws is an error in that API's form. */
export const native =
  (deps: NativeDeps, answer: (body: string, c: Context<GatewayEnv>) => Response | Promise<Response>) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    try {
      return await answer(await readBody(c.env.incoming, { limit: deps.settings.bodyLimit }), c)
    } catch (thrown) {
      return refuseHere(c, thrown, deps)
    }
  }
