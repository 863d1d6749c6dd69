import type { Context } from 'hono'
import type { GatewayEnv } from '../app.ts'
import { refuseHere, type RefuseDeps } from '../refuse-here.ts'

type Answer = (c: Context<GatewayEnv>) => Response | Promise<Response>

/** A route that the gateway answers itself; what `answer` throws is an error in the form of its API. */
export const inForm =
  (dialect: 'openai.chat' | 'anthropic.messages' | 'ollama.chat') =>
  (deps: RefuseDeps) =>
  (answer: Answer) =>
  async (c: Context<GatewayEnv>): Promise<Response> => {
    try {
      return await answer(c)
    } catch (thrown) {
      // What is still being sent is taken in for a while, so that the client gets to read why.
      const { incoming } = c.env
      if (!incoming.readableEnded) {
        incoming.resume()
        const timer = setTimeout(() => incoming.destroy(), DROP_MS)
        incoming.once('close', () => clearTimeout(timer)).once('end', () => clearTimeout(timer))
      }
      return refuseHere(c, thrown, deps, dialect)
    }
  }

/** Longest that the rest of a refused body is taken in, ms. */
const DROP_MS = 5_000

export const openAi = inForm('openai.chat')
