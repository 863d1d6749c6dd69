import type { GatewayConnection, KeptResponse } from '@drover/broker'
import type { JobId, TerminalRecord } from '@drover/core'
import { BrokerError, LOCAL, almighty } from '@drover/core'
import { brokenOff, responseIn } from '@drover/dialects'
import { errorOf } from '../reply.ts'

export interface EndedDeps {
  broker: GatewayConnection
  settings: {
    /** How long the answer of a job that its client may leave can be read, ms. */
    keepMs: number
    /** How long a response is kept after its end, ms. */
    keepResponsesMs: number
  }
  onError(error: unknown): void
}

/** A response as its job has ended, JSON text. What its client has read is in there as it was. */
const endedAs = ({ queued, streamed }: KeptResponse, { text, end }: { text: string; end: TerminalRecord }): string => {
  const whole = end.outcome === 'completed' ? responseIn(text, streamed) : undefined
  if (whole !== undefined) return whole
  const how =
    end.outcome === 'cancelled'
      ? { status: 'cancelled' as const }
      : { status: 'failed' as const, error: end.outcome === 'completed' ? new BrokerError('internal', 'the answer has no end') : errorOf(end) }
  return JSON.stringify(brokenOff(JSON.parse(queued) as Record<string, unknown>, how, streamed ? text : ''))
}

/**
 * A kept response as it is now, JSON text. Whoever is first to see it ended keeps it so: that may be long after the gateway has gone
 * which took its request, so until then all that there is is the job's log, which is kept as long.
 * @returns `undefined`: its job is gone, and nobody has seen its end
 */
export const responseNow = async ({ broker, settings }: EndedDeps, found: KeptResponse): Promise<string | undefined> => {
  if (found.ended !== undefined) return found.ended
  if (found.state === 'gone') return undefined
  if (found.state !== 'ended') return JSON.stringify({ ...(JSON.parse(found.queued) as object), status: found.state })
  const answer = await broker.responses.answer(found.id)
  if (!answer) return undefined
  const response = endedAs(found, answer)
  await broker.responses.seal(found, response, { keepMs: settings.keepResponsesMs, jobMs: settings.keepMs })
  return response
}

/** The job of a kept response has ended: it is kept as it ended. Returns it, or `undefined` if it cannot be read just now. */
export const seal = async (deps: EndedDeps, id: JobId): Promise<string | undefined> => {
  try {
    const found = await deps.broker.responses.find(id, almighty(LOCAL))
    return found && (await responseNow(deps, found))
  } catch (error) {
    // It is read when somebody asks for it.
    if (!(error instanceof BrokerError)) deps.onError(error)
    return undefined
  }
}
