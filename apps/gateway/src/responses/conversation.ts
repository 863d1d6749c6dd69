import { type Caller, type JobId } from '@drover/core'
import { jobOfResponse, responseIdOf, type Turn } from '@drover/dialects'
import { responseNow, type EndedDeps } from './ended.ts'
import { conversationTooLong, previousBroke, previousNotFound, previousNotOver } from './errors.ts'

interface Ended {
  status: string
  output: Turn['output']
}

const turnOf = ({ id, input, response }: { id: JobId; input: string; response: string }): Turn => {
  const { status, output } = JSON.parse(response) as Ended
  if (status !== 'completed' && status !== 'incomplete') throw previousBroke(id, status)
  return { input: JSON.parse(input) as Turn['input'], output }
}

/**
 * What was said up to a response, its own answer included.
 * @throws BrokerError `bad_request`: it is not there, or another's; it has not ended, or not well; it is too long
 */
export const conversationUpTo = async (deps: EndedDeps, previous: string, caller: Caller): Promise<Turn[]> => {
  const last = jobOfResponse(previous)
  if (last === undefined) throw previousNotFound(previous)
  const { responses } = deps.broker
  for (let opened: JobId | undefined; ; ) {
    const chain = await responses.chain(last, caller, deps.settings.keepResponsesMs)
    if (chain.kind === 'turns') return chain.turns.map(turnOf)
    if (chain.kind === 'bound') throw conversationTooLong(chain.most, chain.bound)
    if (chain.kind === 'gone' || chain.id === opened) throw previousNotFound(responseIdOf(chain.id))
    // It has ended, and nobody has asked for it since; the one before it may be next.
    opened = chain.id
    const found = await responses.find(opened, caller)
    if (found && (found.state === 'queued' || found.state === 'in_progress')) throw previousNotOver(opened)
    if (!found || (await responseNow(deps, found)) === undefined) throw previousNotFound(responseIdOf(opened))
  }
}
