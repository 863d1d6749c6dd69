import { randomBytes } from 'node:crypto'
import { EVENT_TYPES, MOST_WEBHOOKS, TEST_TYPE, type Delivery, type GatewayConnection, type Webhook } from '@drover/broker'
import { reaches } from '@drover/core'
import type { Context, Hono } from 'hono'
import { z } from 'zod'
import type { Admission } from '../admission.ts'
import type { GatewayEnv } from '../app.ts'
import { checked, checkedJson } from '../checked.ts'
import { native, type NativeDeps } from '../native.ts'
import { isPublic, literalOf } from './address.ts'
import { isSecret, newSecret } from './secret.ts'

export interface WebhookDeps extends NativeDeps {
  admission: Pick<Admission, 'checkMemory' | 'retryAfterMs'>
  broker: Pick<GatewayConnection, 'webhooks'>
  settings: NativeDeps['settings'] & {
    /** Addresses that are not public may be told, too. */
    webhookPrivate: boolean
  }
}

const MOST_URL = 2_048
const [LISTED, MOST_LISTED] = [100, 1_000]

/** A place that may be told, as far as can be said without asking for its name. */
const target = (allowPrivate: boolean) =>
  z.string().max(MOST_URL).transform((text, context) => {
    const problem = (message: string) => (context.addIssue({ code: 'custom', message }), z.NEVER)
    const url = URL.parse(text)
    if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) return problem('expected https://… or http://…')
    if (url.username !== '' || url.password !== '') return problem('it must not have a user or password in it')
    const literal = literalOf(url)
    if (literal !== undefined && !allowPrivate && !isPublic(literal)) return problem('its address is not public, and this gateway tells only public ones')
    url.hash = ''
    return url.href
  })

const newWebhook = (allowPrivate: boolean) =>
  z.strictObject({
    url: target(allowPrivate),
    events: z.array(z.enum(EVENT_TYPES)).max(EVENT_TYPES.length).optional(),
    secret: z.string().refine(isSecret, 'expected whsec_ and 24 to 64 bytes in base64').optional(),
  })

const time = (ms: number): string => new Date(ms).toISOString()

const shownWebhook = ({ id, owner, url, events, createdAt, disabled, lost }: Webhook) => ({
  id,
  owner,
  url,
  events: events.length === 0 ? EVENT_TYPES : events,
  created_at: time(createdAt),
  disabled: disabled ?? null,
  lost,
})

const shownDelivery = ({ event, type, state, at, tries, lastAt, status, reason, nextAt }: Delivery) => ({
  id: event,
  type,
  state,
  created_at: time(at),
  attempts: tries,
  last_attempt_at: lastAt === undefined ? null : time(lastAt),
  last_status: status ?? null,
  last_error: reason ?? null,
  next_attempt_at: nextAt === undefined ? null : time(nextAt),
})

const missing = (c: Context<GatewayEnv>, what: string) => c.json({ error: `${what} not found` }, 404)
const disabled = (c: Context<GatewayEnv>) => c.json({ error: 'the webhook is disabled: its endpoint answered 410; register it anew' }, 409)

/** Webhooks: who is told of ends, and how that went. Each belongs to who has registered it. */
export const webhookRoutes = (app: Hono<GatewayEnv>, deps: WebhookDeps): void => {
  const store = () => deps.broker.webhooks
  const schema = newWebhook(deps.settings.webhookPrivate)

  /** A route of one webhook that its caller may see. */
  const ofOne = (answer: (webhook: Webhook, c: Context<GatewayEnv>) => Response | Promise<Response>) =>
    native(deps, async (_body, c) => {
      const id = c.req.param('id') ?? ''
      const webhook = await store().find(id)
      return webhook && reaches(c.get('caller'), webhook.owner) ? answer(webhook, c) : missing(c, `webhook '${id.slice(0, 100)}'`)
    })

  app.post('/api/webhooks', native(deps, async (body, c) => {
    deps.admission.checkMemory()
    const { url, events = [], secret } = checkedJson(schema, body)
    const made = secret === undefined ? newSecret() : undefined
    const webhook = await store().add({ owner: c.get('caller').owner, url, events: [...new Set(events)], secret: made ?? secret ?? '' })
    if (!webhook) return c.json({ error: `there are ${MOST_WEBHOOKS} webhooks already, as many as may be: delete one first` }, 409)
    return c.json({ ...shownWebhook(webhook), ...(made !== undefined && { secret: made }) }, 201)
  }))
  app.get('/api/webhooks', native(deps, async (_body, c) => c.json({ webhooks: (await store().list(c.get('caller'))).map(shownWebhook) })))
  app.get('/api/webhooks/:id', ofOne((webhook, c) => c.json(shownWebhook(webhook))))
  app.delete('/api/webhooks/:id', ofOne(async (webhook, c) => {
    await store().remove(webhook)
    return c.json({ id: webhook.id, deleted: true })
  }))
  app.post('/api/webhooks/:id/test', ofOne(async (webhook, c) => {
    if (webhook.disabled) return disabled(c)
    const { id, owner } = webhook
    return c.json({ delivery: await store().emit({ type: TEST_TYPE, owner, id: `test_${randomBytes(12).toString('base64url')}`, about: id, webhook: id }) }, 202)
  }))
  app.get('/api/webhooks/:id/deliveries', ofOne(async ({ id }, c) => {
    const limit = checked(z.coerce.number().int().min(1).max(MOST_LISTED), c.req.query('limit') ?? LISTED, 'limit')
    return c.json({ deliveries: (await store().deliveries(id, limit)).slice(0, limit).map(shownDelivery) })
  }))
  app.post('/api/webhooks/:id/deliveries/:delivery/retry', ofOne(async ({ id }, c) => {
    const event = c.req.param('delivery') ?? ''
    const begun = /^msg_[\w-]{1,100}$/.test(event) ? await store().redeliver(id, event) : 'unknown'
    if (begun === 'disabled') return disabled(c)
    const delivery = begun === 'begun' ? await store().delivery(id, event) : undefined
    return delivery ? c.json(shownDelivery(delivery), 202) : missing(c, `delivery '${event.slice(0, 100)}'`)
  }))
}
