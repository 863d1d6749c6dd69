import type { EngineKind } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'
import { PATHS, type EngineFormat } from './route.ts'

/** A question to an engine: the prompt that it would make of a request. Before it answers it brings the model into memory. */
export interface RenderCall {
  path: string
  body: string
}

const call = (path: string, body: JsonObject): RenderCall => ({ path, body: JSON.stringify(body) })

/** An Ollama that does not know the option would answer the request: with one token of it, no more. */
const SHORT = 1

const ofOllama = (path: string, body: JsonObject, short: JsonObject): RenderCall =>
  call(path, { ...body, stream: false, _debug_render_only: true, ...short })
const natively = (path: string, body: JsonObject): RenderCall =>
  ofOllama(path, body, { options: { ...(isObject(body['options']) && body['options']), num_predict: SHORT } })
const ofLlamaServer = (body: JsonObject): RenderCall => call('/apply-template', { ...body, stream: false })

/**
 * A request as it goes to an engine, made into the question for its prompt; `undefined` where this engine has no such question.
 * llama-server has an endpoint for it, Ollama an option that it documents nowhere (v0.33).
 */
export const renderRequest = (kind: EngineKind, format: EngineFormat, body: JsonObject): RenderCall | undefined => {
  if (kind === 'llama-server') return format === 'openai.chat' ? ofLlamaServer(body) : undefined
  switch (format) {
    case 'ollama.chat':
    case 'ollama.generate':
      return natively(PATHS[format], body)
    case 'openai.chat':
      return ofOllama(PATHS[format], body, { max_tokens: SHORT })
    default:
      return undefined
  }
}

/** The question for the prompt of a conversation. `options` are those that an Ollama has loaded the model with, else it would load it anew. */
export const renderCall = (kind: EngineKind, model: string, messages: readonly JsonObject[], options?: JsonObject): RenderCall =>
  kind === 'ollama' ? natively(PATHS['ollama.chat'], { model, messages, options }) : ofLlamaServer({ model, messages })

/** The prompt in the answer to such a question; `undefined`: this is another answer. */
export const renderedPrompt = (kind: EngineKind, json: unknown): string | undefined => {
  if (!isObject(json)) return undefined
  const holder = kind === 'ollama' ? json['_debug_info'] : json
  const prompt = isObject(holder) ? holder[kind === 'ollama' ? 'rendered_template' : 'prompt'] : undefined
  return typeof prompt === 'string' ? prompt : undefined
}
