import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { Webhook } from 'standardwebhooks'
import { until } from '../support/drover.ts'
import { send } from '../support/raw.ts'

/** What a sink was told. */
export interface Heard {
  headers: IncomingHttpHeaders
  body: string
}

export interface Payload {
  id: string
  object: string
  type: string
  timestamp: string
  created_at: number
  data: { id: string }
}

/** Somebody's server that is told of events, as it likes to behave: `answer` is called with how often it was told before. */
export const startSink = async (answer: (response: ServerResponse, before: number, heard: Heard) => void = (response) => void response.writeHead(204).end()) => {
  const heard: Heard[] = []
  const server = createServer(
    (request, response) =>
      void text(request).then((body) => {
        const told = { headers: request.headers, body }
        heard.push(told)
        answer(response, heard.length - 1, told)
      }),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    heard,
    port,
    url: `http://127.0.0.1:${port}/events`,
    /** Resolves when it was told so often. */
    told: (times: number) => until(`a sink is told ${times} times`, () => heard.length >= times),
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
export type Sink = Awaited<ReturnType<typeof startSink>>

/** What a receiver that checks signatures makes of it. @throws the library's error */
export const verified = ({ headers, body }: Heard, secret: string): Payload => new Webhook(secret).verify(body, headers as Record<string, string>) as Payload

export interface WebhookAnswer {
  id: string
  secret?: string
  owner: string
  url: string
  events: string[]
  disabled: string | null
  lost: number
}

export interface DeliveryAnswer {
  id: string
  type: string
  state: string
  attempts: number
  last_status: number | null
  last_error: string | null
  next_attempt_at: string | null
}

const json = async <T>(url: string, method: 'GET' | 'POST' | 'DELETE', body?: unknown, headers: Record<string, string> = {}): Promise<T & { status: number }> => {
  const answer = await send(url, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
  return { status: answer.status, ...(JSON.parse(answer.text) as T) }
}

/** The routes of webhooks, as a client calls them. */
export const hooksOf = (url: string, headers: Record<string, string> = {}) => ({
  add: (body: unknown) => json<WebhookAnswer & { error?: string }>(`${url}/api/webhooks`, 'POST', body, headers),
  list: () => json<{ webhooks: WebhookAnswer[] }>(`${url}/api/webhooks`, 'GET', undefined, headers),
  get: (id: string) => json<WebhookAnswer>(`${url}/api/webhooks/${id}`, 'GET', undefined, headers),
  remove: (id: string) => json<{ deleted?: boolean; error?: string }>(`${url}/api/webhooks/${id}`, 'DELETE', undefined, headers),
  test: (id: string) => json<{ delivery?: string; error?: string }>(`${url}/api/webhooks/${id}/test`, 'POST', undefined, headers),
  deliveries: async (id: string, limit?: number) => (await json<{ deliveries: DeliveryAnswer[] }>(`${url}/api/webhooks/${id}/deliveries${limit === undefined ? '' : `?limit=${limit}`}`, 'GET', undefined, headers)).deliveries,
  retry: (id: string, delivery: string) => json<DeliveryAnswer & { error?: string }>(`${url}/api/webhooks/${id}/deliveries/${delivery}/retry`, 'POST', undefined, headers),
  /** Resolves with a delivery of this state. */
  async delivery(id: string, state: string): Promise<DeliveryAnswer> {
    let found: DeliveryAnswer | undefined
    await until(`a delivery is ${state}`, async () => (found = (await this.deliveries(id)).find((each) => each.state === state)) !== undefined)
    return found!
  },
})
