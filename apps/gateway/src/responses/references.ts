import type { Caller, JobId } from '@drover/core'
import { jobOfItem, referencesIn, withItems, type ParsedRequest, type Turn } from '@drover/dialects'
import { responseNow, type EndedDeps } from './ended.ts'
import { itemNotFound, tooManyReferences } from './errors.ts'

/** Most responses whose items one request names, and most characters of all of them. */
const MOST_RESPONSES = 64
const MOST_CHARS = 16 * 1024 * 1024

type Item = Turn['input'][number]

/**
 * A request with the items of stored responses that it names.
 * @throws BrokerError `bad_request`: one is not there, or another's; they are too many
 */
export const withReferences = async (deps: EndedDeps, request: ParsedRequest, caller: Caller): Promise<ParsedRequest> => {
  const items = new Map<unknown, Item>()
  const seen = new Set<JobId>()
  let chars = 0
  for (const id of referencesIn(request)) {
    const job = jobOfItem(id)
    if (job === undefined) throw itemNotFound(id)
    if (!seen.has(job)) {
      if (seen.size === MOST_RESPONSES) throw tooManyReferences(MOST_RESPONSES)
      seen.add(job)
      const found = await deps.broker.responses.find(job, caller, { withInput: true })
      const response = found && (await responseNow(deps, found))
      if (!response) throw itemNotFound(id)
      chars += found.input.length + response.length
      if (chars > MOST_CHARS) throw tooManyReferences(seen.size - 1)
      for (const item of [...(JSON.parse(found.input) as Item[]), ...(JSON.parse(response) as Turn).output]) items.set(item['id'], item)
    }
    if (!items.has(id)) throw itemNotFound(id)
  }
  return withItems(request, (id) => items.get(id)!)
}
