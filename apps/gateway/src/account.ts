import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'

/** `POST /api/me`: there is no account of Ollama's maker behind Drover, so nobody is signed in and there is nowhere to do so. */
export const me = (c: Context<GatewayEnv>): Response => c.json({ error: 'unauthorized', signin_url: '' }, 401)

/** `POST /api/signout`, `DELETE /api/user/keys/:key`. */
export const signOut = (c: Context<GatewayEnv>): Response => c.json({ error: 'you are not currently signed in' }, 401)
