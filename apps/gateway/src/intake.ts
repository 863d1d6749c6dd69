import type { IncomingHttpHeaders } from 'node:http'
import { laneOf, type Charged, type FrameSink, type Follow, type HandedIn, type Lane, type Once, type Submission } from '@drover/broker'
import { BrokerError, canonicalName, expectedTokens, PRIORITY, reaches, slotsFor, type Caller, type JobClass, type ModelName, type Requirements } from '@drover/core'
import { answerLimit, type Dialect, type ParsedRequest } from '@drover/dialects'
import type { InferenceDeps } from './inference.ts'
import { limitHeaders } from './keys/limit-headers.ts'
import { isServedByPulled } from './models/on-demand.ts'
import { notFound } from './not-found.ts'
import type { RegistryView, View } from './registry-view.ts'
import { chosen, prefersAsync, wantedKeepMs, wantedLayout } from './wishes.ts'

export type IntakeDeps = Pick<InferenceDeps, 'broker' | 'view' | 'admission' | 'onDemand' | 'settings'>

export interface IntakeOptions {
  dialect: Dialect
  request: ParsedRequest
  /** It is to be one job, however often it comes. */
  once?: Once | undefined
  caller: Caller
  class: JobClass
  /** Of the request that brought it; a line of a batch has none. */
  headers: IncomingHttpHeaders
  /** Headers of its answer: how the caller's key stands is added to them, also where that refuses it. */
  answer?: Record<string, string> | undefined
}

/** How one job of a request differs from the request. */
export type JobOptions = Pick<Submission, 'body' | 'timeoutMs'> & Partial<Pick<Submission, 'id' | 'background' | 'keepMs' | 'stream' | 'hook' | 'mostListed'>>

/** A request that a model here can answer: where its jobs go, and how they get there. */
export interface Intake {
  model: ModelName
  lane: Lane
  /** Slots that serve the lane, over all nodes that take jobs. */
  slots: number
  /** The client wants the answer made to its end though nobody reads it. */
  goesOn: boolean
  /** The client comes back for the answer. */
  later: boolean
  /**
   * Admits a job of this request and puts it on its lane.
   * @throws BrokerError `queue_full`, `rate_limited`, `quota_exceeded`, `broker_unavailable`: then nothing was accepted
   */
  submit(job: JobOptions, sink: FrameSink, named?: Parameters<IntakeDeps['broker']['jobs']['submit']>[2]): Promise<Follow>
  /**
   * The same for a job that nobody follows: it is kept until its owner comes.
   * @throws BrokerError as `submit` does
   */
  handIn(job: JobOptions): Promise<HandedIn>
}

/**
 * From a request to the lane of its jobs, whatever way it has come.
 * @throws BrokerError `model_not_found`, `cannot_run`, `forbidden`, `bad_request`, worded for the request's API
 */
export const intake = async (deps: IntakeDeps, { dialect, request, once, caller, class: jobClass, headers, answer }: IntakeOptions): Promise<Intake> => {
  const { broker, view, admission, onDemand, settings } = deps
  checkApart(request)
  const held = await view.resolve(request.model)
  const named = held ?? canonicalName(request.model)
  // Whether there is such a model is not told to who may not use it.
  if (named !== undefined && caller.allowsModel?.(named) === false) throw new BrokerError('forbidden', `this API key may not use the model '${named}'`)
  const model = held ?? onDemand?.admits(request.model)
  if (!model) throw missing(view, dialect, request.model)
  const goesOn = chosen(headers, 'x-drover-on-disconnect', ['continue', 'cancel']) === 'continue'
  const resumes = chosen(headers, 'x-drover-resume', ['never']) !== 'never' && settings.resume
  const priority = Math.min(priorityIn(headers), caller.priorityCeiling)
  const limit = answerLimit(dialect.id, request.body)
  const hook = await webhookOf(broker, caller, headers)
  const keepMs = wantedKeepMs(headers, settings.keepLimitMs)
  const requires: Requirements = { engine: request.engine ?? dialect.engine, layout: request.layout ?? wantedLayout(headers) }
  const isBrought = held === undefined && isServedByPulled(requires)
  if (!isBrought) checkHope(view, model, { dialect, request, requires })
  else if (!onDemand?.hasRoomFor(model, requires)) throw cannotRun(request.model, 'no node holds it, and none with an Ollama is there that could take it')
  if (isBrought) onDemand?.enter(model)
  const lane = laneOf(model, jobClass, requires)
  let counted = false
  const slots = view.holdersFor(model, requires).reduce((sum, { node, engine }) => sum + (node.draining ? 0 : slotsFor(engine, model)), 0)
  const submission = ({ timeoutMs, ...job }: JobOptions): Submission => {
    const background = job.background ?? goesOn
    const charged = chargedTo(caller, { class: jobClass, counts: !counted, answer })
    counted = true
    if (hook !== undefined && !background) throw new BrokerError('bad_request', 'x-drover-webhook is for a job that goes on without its client: say so, too, or leave it out')
    return {
      dialect: dialect.id,
      model,
      asked: request.model,
      class: jobClass,
      requires,
      owner: caller.owner,
      stream: request.stream,
      slots: request.slots,
      priority,
      tokens: expectedTokens(job.body.length, limit),
      timeoutMs,
      mostAhead: admission.mostAhead(lane, slots, timeoutMs),
      ...(!resumes && { resume: false }),
      ...(charged && { charged }),
      ...(goesOn && { background: true, keepMs: keepMs ?? settings.keepMs, mostListed: settings.mostKept }),
      // A line of a batch is no event: its batch is.
      ...(background && jobClass === 'interactive' && { hook: hook ?? '*' }),
      ...(once && { once, keepMs: keepMs ?? settings.keepResultsMs, mostListed: settings.mostKept }),
      ...job,
    }
  }
  return {
    model,
    lane,
    slots,
    goesOn,
    later: prefersAsync(headers),
    async submit(job, sink, named) {
      const follow = await broker.jobs.submit(submission(job), sink, named)
      if (follow.ahead) admission.added(lane, follow.ahead)
      if (isBrought) onDemand?.look()
      return follow
    },
    async handIn(job) {
      const kept = Math.max(keepMs ?? settings.keepResultsMs, job.keepMs ?? 0)
      const handed = await broker.jobs.handIn({ ...submission({ ...job, background: true }), keepMs: kept, mostListed: settings.mostKept })
      if (handed.ahead) admission.added(lane, handed.ahead)
      if (isBrought) onDemand?.look()
      return handed
    },
  }
}

/**
 * Whoever keeps responses has read these wishes, and taken them away: what has them still has come another way.
 * @throws BrokerError `bad_request` that names the field
 */
export const checkApart = ({ stored }: ParsedRequest): void => {
  const field = stored?.background ? 'background' : stored?.previous !== undefined ? 'previous_response_id' : stored?.references ? 'input: item_reference' : undefined
  if (field !== undefined) throw new BrokerError('bad_request', `${field} is for requests to /v1/responses themselves`)
}

/** Further jobs of one request cost tokens only, and the lines of a batch those of the day: how fast it goes is its own affair. */
const chargedTo = ({ limits }: Caller, { class: jobClass, counts, answer }: Pick<IntakeOptions, 'class' | 'answer'> & { counts: boolean }): Charged | undefined => {
  if (!limits) return undefined
  if (jobClass === 'interactive') return { limits, counts, ...(answer && { tell: (standing) => void Object.assign(answer, limitHeaders(limits, standing)) }) }
  const { tokens_per_day: daily } = limits
  return daily === undefined ? undefined : { limits: { tokens_per_day: daily }, counts: false }
}

/** The one webhook that is to be told of the end. @throws BrokerError `bad_request` when the caller has none of that id */
const webhookOf = async (broker: IntakeDeps['broker'], caller: Caller, headers: IncomingHttpHeaders): Promise<string | undefined> => {
  const given = headers['x-drover-webhook']
  if (given === undefined) return undefined
  const webhook = typeof given === 'string' ? await broker.webhooks.find(given) : undefined
  if (!webhook || !reaches(caller, webhook.owner)) throw new BrokerError('bad_request', 'invalid x-drover-webhook header: it is the id of a webhook of yours')
  return webhook.id
}

/** What a client says in `x-drover-priority`. @throws BrokerError `bad_request` for what is no whole number from 1 to 10 */
const priorityIn = ({ 'x-drover-priority': given }: IncomingHttpHeaders): number => {
  if (given === undefined) return PRIORITY.usual
  if (typeof given === 'string' && /^([1-9]|10)$/.test(given)) return Number(given)
  throw new BrokerError('bad_request', `invalid x-drover-priority header: it can be ${PRIORITY.least} to ${PRIORITY.most}`)
}

/** Why a model that is asked for is none that jobs can be made for. */
export const missing = (view: Pick<View, 'short'>, dialect: Dialect, asked: string): BrokerError => {
  const name = canonicalName(asked)
  const short = name && view.short.get(name)
  return short ? cannotRun(asked, short.reason) : notFound(dialect, asked)
}

const cannotRun = (asked: string, why: string): BrokerError => new BrokerError('cannot_run', `model '${asked}' cannot be run: ${why}`)

/**
 * A job that asks for more than its model would wait until its deadline where no engine has the model that is such as it requires, or is to
 * be expected to.
 * @throws BrokerError `bad_request`, `cannot_run`
 */
export const checkHope = (view: RegistryView, model: ModelName, { dialect, request, requires }: { dialect: Dialect; request: ParsedRequest; requires: Requirements }): void => {
  const { engine, layout } = requires
  if ((engine === undefined && layout === undefined) || view.holdersFor(model, requires).length > 0 || view.mayCome(model, requires)) return
  const isKindThere = layout !== undefined && view.holders.get(model)?.some((holder) => holder.engine.kind === engine)
  if (engine !== undefined && !isKindThere) {
    const only = request.engine === undefined ? `only a ${engine} answers ${dialect.path}` : `invalid input type: only a ${engine} takes tokens in place of text`
    throw new BrokerError('bad_request', `${only}, and no node has one with the model "${request.model}"; start one there`)
  }
  if (layout === 'node') throw cannotRun(request.model, 'no node runs it by itself; without distributed: false it may run over several')
  throw cannotRun(request.model, view.short.get(model)?.reason ?? `no node that lends memory has the file of '${request.model}'`)
}
