import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { loadRequest } from './ollama-request.ts'
import { wantsUsage } from './openai-writer.ts'
import { unsupported } from './refusal.ts'

/** Options that a model is loaded with: another value makes Ollama unload and load it again, for everybody. */
const LOAD_TIME = new Set(['num_ctx', 'num_batch', 'num_gpu', 'main_gpu', 'use_mmap', 'num_thread', 'draft_num_predict'])

/** A native request with the engine's name of the model and the node's policy for load-time options; all else is the client's. */
export const byPolicy = ({ body, engine, policy }: ExchangeRequest, keepAlive = policy.keepAlive): JsonObject => {
  const { keep_alive: _keepAlive, shift: _shift, options: given, ...rest } = body
  const wanted = Object.entries(isObject(given) ? given : {}).filter(([name]) => !LOAD_TIME.has(name))
  const options: JsonObject = Object.fromEntries(wanted)
  if (policy.numCtx !== undefined) options['num_ctx'] = policy.numCtx
  return {
    ...rest,
    model: engine.model,
    ...(Object.keys(options).length > 0 ? { options } : {}),
    ...(keepAlive === undefined ? {} : { keep_alive: keepAlive }),
  }
}

/** A native request for an engine that speaks it: name, stream and load-time options are Drover's, all else is the client's. */
export const askOllama = (kind: 'chat' | 'generate', request: ExchangeRequest): JsonObject => {
  const load = loadRequest(kind, request.body)
  // To unload is what such a request asks for: with the node's own time to keep it would load the model instead.
  return { ...byPolicy(request, load === 'unload' ? 0 : undefined), stream: load === undefined }
}

/**
 * llama-server cannot stream an answer that has both tools and log probabilities (`logprobs is not supported with tools + stream`),
 * so that is one call.
 */
export const canStream = ({ engine, body }: ExchangeRequest): boolean =>
  !(engine.kind === 'llama-server' && body['logprobs'] === true && isFilled(body['tools']))

/** How an OpenAI request says that its answer is to be streamed, with usage at the end. */
export const streaming = (request: ExchangeRequest): JsonObject =>
  canStream(request) ? { stream: true, stream_options: { include_usage: true } } : { stream: false }

/** A `/v1/chat/completions` request for an engine that speaks it. */
export const askOpenAi = (request: ExchangeRequest): JsonObject => {
  const { body, engine } = request
  const { max_completion_tokens: limit, reasoning, stream_options: _options, ...rest } = body
  const asked: JsonObject = { ...rest, model: engine.model, ...streaming(request) }
  // Without usage llama-server has its timings in the event that ends a choice: they tell as much, and the stream is its own.
  if (engine.kind === 'llama-server' && request.stream && !wantsUsage(request)) delete asked['stream_options']
  // Ollama knows the newer name of the limit not at all, llama-server as another name of the older one.
  if (limit !== undefined) asked['max_tokens'] = limit
  if (engine.kind === 'ollama') {
    if (body['grammar']) throw unsupported(request.asked, 'grammar')
    // It knows no `tool_choice`: tools that must not be called are not shown to the model.
    if (body['tool_choice'] === 'none') delete asked['tools']
  }
  if (isObject(reasoning) && reasoning['effort'] !== undefined) {
    if (engine.kind === 'ollama') asked['reasoning'] = reasoning
    else asked['reasoning_effort'] ??= reasoning['effort']
  }
  return asked
}
