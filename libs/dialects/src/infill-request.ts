import { BrokerError } from '@drover/core'
import { oneText } from './completions-request.ts'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import { refuseOwnPrompts, responseSchema, sampling, alternatives } from './ollama-to-openai.ts'
import { unsupported } from './refusal.ts'
import type { GenerationRequest } from './route.ts'

/**
 * Whether the client wants the text between two others from a llama-server. Its `/v1/completions` passes over a suffix, its
 * `/infill` does not.
 */
export const fillsGap = ({ dialect, body, engine }: GenerationRequest): boolean =>
  engine.kind === 'llama-server' && Boolean(body['suffix']) &&
  (dialect === 'openai.completions' || (dialect === 'ollama.generate' && body['raw'] !== true))

const infill = (
  { engine }: GenerationRequest,
  before: string,
  after: unknown,
  { max_tokens: limit, stop, logprobs, ...settings }: JsonObject,
): JsonObject => ({
  ...settings,
  model: engine.model,
  stream: true,
  input_prefix: before,
  input_suffix: after,
  ...(limit === undefined ? {} : { n_predict: limit }),
  // A text that is not in a list would be passed over here.
  ...(stop === undefined ? {} : { stop: [stop].flat() }),
  ...(logprobs ? { n_probs: logprobs } : {}),
})

const completionToInfill = (request: GenerationRequest): JsonObject => {
  const { model: _model, stream: _stream, stream_options: _options, prompt, suffix, ...settings } = request.body
  const before = oneText(prompt)
  if (typeof before !== 'string') throw new BrokerError('engine_refused', 'prompt must be one string where there is a suffix', { status: 400 })
  return infill(request, before, suffix, settings)
}

/** Templates with a place for a suffix have none for a system's text: an Ollama passes over it, too. */
const generateToInfill = (request: GenerationRequest): JsonObject => {
  refuseOwnPrompts(request)
  const { asked, body } = request
  if (isFilled(body['images'])) throw unsupported(asked, 'images with a suffix')
  const schema = responseSchema(body['format'])
  return infill(request, String(body['prompt'] ?? ''), body['suffix'], {
    ...sampling(request),
    ...(isObject(schema) ? { json_schema: schema } : {}),
    ...(body['logprobs'] === true ? { logprobs: alternatives(body) } : {}),
  })
}

/**
 * A request with a suffix as llama-server's `/infill`. Of long texts that reads what is next to the gap: three quarters of a batch before
 * it and a quarter behind it, 1,536 and 512 tokens by default.
 * @throws BrokerError `engine_refused` for what cannot be said there
 */
export const askInfill = (request: GenerationRequest): JsonObject =>
  request.dialect === 'ollama.generate' ? generateToInfill(request) : completionToInfill(request)
