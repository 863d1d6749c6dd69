import type { ServerResponse } from 'node:http'
import type { GatewayConnection, HandedIn, JobState } from '@drover/broker'
import type { Caller } from '@drover/core'

interface AcceptedOptions {
  broker: GatewayConnection
  caller: Caller
  headers: Record<string, string>
}

/** Says that a job is in Redis: whoever has read this finds it, on any gateway. */
export const sendAccepted = async (outgoing: ServerResponse, { id, repeated }: HandedIn, { broker, caller, headers }: AcceptedOptions): Promise<void> => {
  // Only one that was there already may be further on.
  const state: JobState = (repeated && (await broker.kept.inspect(id, caller).catch(() => undefined))?.state) || 'queued'
  const location = `/api/jobs/${id}`
  const body = JSON.stringify({ id, state, url: location, result_url: `${location}/result`, stream_url: `${location}/stream` })
  outgoing.writeHead(202, {
    ...headers,
    location,
    'x-drover-job': id,
    ...(repeated && { 'idempotent-replayed': 'true' }),
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  })
  outgoing.end(body)
}
