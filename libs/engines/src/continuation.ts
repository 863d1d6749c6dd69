import { BrokerError } from '@drover/core'
import type { Continuation, HeldModel } from '@drover/core'
import { renderCall, renderedPrompt } from '@drover/dialects'
import type { Engine } from './engine.ts'

const QUESTION = { role: 'user', content: 'Hello' }
/** Blanks and line breaks stand wherever a template may trim or fold them. */
const PARTIAL = '\n one  two\nthree '

/** Statuses of an engine that is busy or is just loading: another time it will answer. */
const PASSING: ReadonlySet<number> = new Set([429, 502, 503, 504])

/**
 * Asks an engine how it goes on with an answer of which it is given the beginning: from the prompts that it renders, so nothing is
 * generated. Asked for a model that is not in memory it would load it; `contextLength` is the one that the model is loaded with, for an
 * Ollama loads a model anew for a request that means another one.
 *
 * A model whose template thinks is `rendered`: what stands in such a prompt before an answer depends on whether it has thought.
 * @throws BrokerError `engine_failed` where it cannot say now; the signal's reason when that ends it
 */
export const probeContinuation = async (
  engine: Pick<Engine, 'id' | 'kind' | 'ask'>,
  { engineName, capabilities }: Pick<HeldModel, 'engineName' | 'capabilities'>,
  signal: AbortSignal,
  contextLength?: number,
): Promise<Continuation> => {
  if (capabilities && !capabilities.includes('completion')) return 'none'
  const options = contextLength === undefined ? {} : { num_ctx: contextLength }
  const render = async (...messages: (typeof QUESTION)[]): Promise<string | undefined> => {
    const call = renderCall(engine.kind, engineName, messages, options)
    const { status, json } = await engine.ask({ ...call, model: engineName }, signal)
    if (PASSING.has(status)) throw new BrokerError('engine_failed', `engine ${engine.id} answered POST ${call.path} with status ${status}`)
    return status === 200 ? renderedPrompt(engine.kind, json) : undefined
  }
  const prompt = await render(QUESTION)
  if (prompt === undefined) return 'none'
  return (await render(QUESTION, { role: 'assistant', content: PARTIAL })) === prompt + PARTIAL ? 'prefill' : 'rendered'
}
