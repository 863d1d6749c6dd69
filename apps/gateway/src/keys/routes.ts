import type { KeyChanges, Keyring, NewKey } from '@drover/broker'
import { KeyChange, KeyWish, shownKey, type Entrance } from '@drover/core'
import type { Context, Hono } from 'hono'
import { z } from 'zod'
import type { GatewayEnv } from '../app.ts'
import { checkedJson } from '../checked.ts'
import { native, type NativeDeps } from '../native.ts'

export interface KeyDeps extends NativeDeps {
  broker: { apiKeys: Pick<Keyring, 'all'>; keyChanges: Pick<KeyChanges, 'add' | 'set' | 'rotate' | 'revoke'> }
  access: Entrance
}

/** The secret before opens for so long at most after a rotation, s: a week. */
const MOST_GRACE_S = 7 * 24 * 3_600

/** What `POST /api/keys/:id/rotate` takes. */
export const Rotation = z.strictObject({
  /** Seconds for which the secret before opens, too. */
  grace_s: z.int().min(0).max(MOST_GRACE_S).default(0),
})

const notFound = (c: Context<GatewayEnv>): Response => c.json({ error: `key '${(c.req.param('id') ?? '').slice(0, 100)}' not found` }, 404)

/** A secret is shown once, and no cache on the way may keep it. */
const given = (c: Context<GatewayEnv>, { key, text }: NewKey, status: 200 | 201): Response => c.json({ ...shownKey(key), key: text }, status, { 'cache-control': 'no-store' })

/** `/api/keys`: who may come in, and what for. */
export const keyRoutes = (app: Hono<GatewayEnv>, deps: KeyDeps): void => {
  const changes = () => deps.broker.keyChanges

  app.get('/api/keys', (c) => c.json({ keys: deps.broker.apiKeys.all.map(shownKey).toSorted((a, b) => (a.created_at < b.created_at ? -1 : 1)) }))

  app.post(
    '/api/keys',
    native(deps, async (body, c) => given(c, await changes().add(checkedJson(KeyWish, body || '{}'), deps.access), 201)),
  )

  app.patch(
    '/api/keys/:id',
    native(deps, async (body, c) => {
      const changed = await changes().set(c.req.param('id') ?? '', checkedJson(KeyChange, body || '{}'), deps.access)
      return changed ? c.json(shownKey(changed)) : notFound(c)
    }),
  )

  app.post(
    '/api/keys/:id/rotate',
    native(deps, async (body, c) => {
      const { grace_s: grace } = checkedJson(Rotation, body || '{}')
      const rotated = await changes().rotate(c.req.param('id') ?? '', grace * 1_000)
      return rotated ? given(c, rotated, 200) : notFound(c)
    }),
  )

  app.delete(
    '/api/keys/:id',
    native(deps, async (_body, c) => {
      const id = c.req.param('id')
      return (await changes().revoke(id ?? '', deps.access)) ? c.json({ id, revoked: true }) : notFound(c)
    }),
  )
}
