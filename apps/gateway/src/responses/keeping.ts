import { newJobId, ResponsesFull, type Once, type Submission } from '@drover/broker'
import { BrokerError, type Caller, type JobId } from '@drover/core'
import { inputItems, jobOfResponse, kept, queuedResponse, withConversation, type ParsedRequest, type StoredWish } from '@drover/dialects'
import { conversationUpTo } from './conversation.ts'
import type { EndedDeps } from './ended.ts'
import { responseTooLarge, storeFull } from './errors.ts'
import { withReferences } from './references.ts'

export interface KeepingDeps extends EndedDeps {
  settings: EndedDeps['settings'] & {
    timeoutMs: number
    /** Most bytes of one owner's kept responses. */
    responseBytes: number
    /** Responses are kept whose request does not say. */
    storeResponses: boolean
    /** Most jobs that are kept for one owner. */
    mostKept: number
  }
}

/** Most bytes of one request that is kept. */
const MOST_BYTES = 8 * 1024 * 1024

/** A kept response outlives the deadline of its job by this, if nobody sees its end, ms. */
const MARGIN_MS = 60_000

/** A response that is kept from its submit on. */
export interface Keeping {
  id: JobId
  background: boolean
  /** What its job has that others have not. */
  job: Pick<Submission, 'id' | 'background' | 'keepMs' | 'mostListed'>
  /**
   * Before its job is submitted. Returns it as it waits, which of a repetition is what the first said.
   * @throws BrokerError `quota_exceeded` (the owner has too many), `bad_request`, `key_reused`, `queue_full`, `broker_unavailable`
   */
  keep(): Promise<Record<string, unknown>>
  /** Its job was not accepted. */
  undo(why: unknown): void
}

/**
 * A request as its job carries it: behind the conversation that it goes on with, and named if its response is to be kept.
 * @throws BrokerError `bad_request`: there is no such conversation, or it is too long
 */
export const keeping = async (deps: KeepingDeps, { stored, ...given }: ParsedRequest & { stored: StoredWish }, { caller, once }: { caller: Caller; once?: Once | undefined }): Promise<{ request: ParsedRequest; keeping: Keeping | undefined }> => {
  const { broker, settings } = deps
  const { background, previous, references } = stored
  const store = stored.store ?? (background || previous !== undefined || references || settings.storeResponses)
  const parsed = references ? await withReferences(deps, given, caller) : given
  const turns = previous === undefined ? [] : await conversationUpTo(deps, previous, caller)
  const request = kept(withConversation(parsed, turns), { store, background, previous, createdAt: Date.now() })
  if (!store) return { request, keeping: undefined }
  const id = once ? await broker.jobs.idOf(once) : newJobId()
  const queued = queuedResponse(request, id)
  return {
    request,
    keeping: {
      id,
      background,
      job: { id, ...(background && { background, mostListed: settings.mostKept }), keepMs: settings.keepResponsesMs },
      async keep() {
        const texts = { queued: JSON.stringify(queued), input: JSON.stringify(inputItems(parsed.body['input'], id)) }
        if (texts.queued.length + texts.input.length > MOST_BYTES) throw responseTooLarge(MOST_BYTES)
        const before = previous === undefined ? undefined : jobOfResponse(previous)
        try {
          const first = await broker.responses.keep(
            { id, owner: caller.owner, ...texts, previous: before, background, streamed: request.stream, fingerprint: once?.fingerprint, livesMs: settings.timeoutMs + settings.keepResponsesMs + MARGIN_MS },
            settings.responseBytes,
          )
          const waiting = JSON.parse(first) as Record<string, unknown>
          // Its job is to say the same, should the first try have had none.
          request.body['created_at'] = waiting['created_at']
          return waiting
        } catch (error) {
          throw error instanceof ResponsesFull ? storeFull(error.bound === 'bytes' ? 'many bytes' : 'many responses') : error
        }
      },
      undo(why) {
        // Under a key it may be that of another try, and is found by the next one; unless the job of this name is another request's.
        if (!once || (why instanceof BrokerError && why.code === 'key_reused')) void broker.responses.drop({ id, owner: caller.owner }, once?.fingerprint).catch(() => undefined)
      },
    },
  }
}
