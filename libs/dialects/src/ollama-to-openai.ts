import { streaming } from './ask.ts'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { imageUri } from './images.ts'
import { unsupported } from './refusal.ts'

/** Sampling options that llama-server takes under the same name. */
const SAME_NAME = ['temperature', 'top_k', 'top_p', 'min_p', 'typical_p', 'repeat_penalty', 'presence_penalty',
  'frequency_penalty', 'stop']

/** What "the whole context" is taken for where the node has not said how long it is. */
const REPEAT_WINDOW = 32_768

/** Sampling options in llama-server's terms. Nothing is sent for what the client left open: the model's own defaults hold. */
export const sampling = ({ body, policy }: ExchangeRequest): JsonObject => {
  const options = isObject(body['options']) ? body['options'] : {}
  const out: JsonObject = {}
  for (const name of SAME_NAME) if (options[name] !== undefined) out[name] = options[name]
  const { num_predict: limit, repeat_last_n: window, seed } = options
  if (typeof limit === 'number' && limit >= 0) out['max_tokens'] = limit
  if (typeof window === 'number') out['repeat_last_n'] = window >= 0 ? window : (policy.numCtx ?? REPEAT_WINDOW)
  // Its seeds have 32 bits; -1 is "any" in both.
  if (typeof seed === 'number') out['seed'] = seed === -1 ? -1 : Number(BigInt.asUintN(32, BigInt(seed)))
  return out
}

/** llama-server gives log probabilities only where at least one alternative is asked for; the writer takes one too many away. */
export const alternatives = (body: JsonObject): number => Math.max(1, Number(body['top_logprobs'] ?? 0))

const responseFormat = (format: unknown): JsonObject => {
  if (format === 'json') return { response_format: { type: 'json_object' } }
  return isObject(format) ? { response_format: { type: 'json_schema', json_schema: { name: 'format', schema: format } } } : {}
}

/** A template reads `enable_thinking` or an effort; one that knows neither passes over both. */
const thinking = (think: unknown): JsonObject => {
  if (think === undefined) return {}
  return {
    chat_template_kwargs: { enable_thinking: think !== false },
    ...(typeof think === 'string' ? { reasoning_effort: think } : {}),
  }
}

const contentOf = (text: unknown, images: unknown): unknown => {
  const said = typeof text === 'string' ? text : ''
  if (!isFilled(images)) return said
  const parts = images.map((image) => ({ type: 'image_url', image_url: { url: imageUri(String(image)) } }))
  return said ? [{ type: 'text', text: said }, ...parts] : parts
}

/** Messages in OpenAI's form. There a tool's answer names its call, so calls without an id get one, and answers find theirs. */
const messagesOf = (messages: readonly unknown[]): JsonObject[] => {
  const open: { id: string; name: unknown }[] = []
  return messages.filter(isObject).map((message, at) => {
    const { role = 'user', content, images, thinking: thought, tool_calls: calls, tool_name: name, tool_call_id: given } = message
    const out: JsonObject = { role, content: contentOf(content, images) }
    if (thought) out['reasoning_content'] = thought
    if (isFilled(calls)) {
      out['tool_calls'] = calls.filter(isObject).map((call, index) => {
        const called = isObject(call['function']) ? call['function'] : {}
        const id = typeof call['id'] === 'string' && call['id'] ? call['id'] : `call_${at}_${index}`
        open.push({ id, name: called['name'] })
        return { id, type: 'function', function: { name: called['name'], arguments: JSON.stringify(called['arguments'] ?? {}) } }
      })
    }
    if (role === 'tool') {
      const found = open.findIndex((call) => (given ? call.id === given : !name || call.name === name))
      const [call] = found < 0 ? [] : open.splice(found, 1)
      out['tool_call_id'] = given ?? call?.id ?? `call_${at}`
      if (name ?? call?.name) out['name'] = name ?? call?.name
    }
    return out
  })
}

const shared = (request: ExchangeRequest): JsonObject => {
  const { body, engine } = request
  return {
    model: engine.model,
    ...streaming(request),
    ...sampling(request),
    ...responseFormat(body['format']),
    ...thinking(body['think']),
    ...(body['logprobs'] === true ? { logprobs: true, top_logprobs: alternatives(body) } : {}),
  }
}

export const chatToOpenAi = (request: ExchangeRequest): JsonObject => {
  const { messages, tools } = request.body
  return {
    ...shared(request),
    messages: messagesOf(Array.isArray(messages) ? messages : []),
    ...(isFilled(tools) ? { tools } : {}),
  }
}

/** @throws BrokerError `engine_refused` for prompts that only Ollama itself can make */
export const refuseOwnPrompts = ({ asked, body }: ExchangeRequest): void => {
  if (body['template']) throw unsupported(asked, 'template')
  if (isFilled(body['context'])) throw unsupported(asked, 'context')
}

/** @throws BrokerError `engine_refused` for what only Ollama itself can do */
const refuseOwn = (request: ExchangeRequest): void => {
  if (request.body['suffix']) throw unsupported(request.asked, 'insert')
  refuseOwnPrompts(request)
}

/** A prompt becomes a conversation of one turn, as Ollama's own template would make it. */
export const generateToOpenAi = (request: ExchangeRequest): JsonObject => {
  refuseOwn(request)
  const { system, prompt, images } = request.body
  return {
    ...shared(request),
    messages: [
      ...(system ? [{ role: 'system', content: system }] : []),
      { role: 'user', content: contentOf(prompt, images) },
    ],
  }
}

/** What llama-server's own field for a schema takes. */
export const responseSchema = (format: unknown): unknown => (format === 'json' ? { type: 'object' } : format)

/** A raw prompt goes to `/v1/completions` untouched; a schema is given by llama-server's own field there. */
export const rawToCompletions = (request: ExchangeRequest): JsonObject => {
  refuseOwn(request)
  const { body, asked, engine } = request
  if (isFilled(body['images'])) throw unsupported(asked, 'images in raw mode')
  const schema = responseSchema(body['format'])
  return {
    model: engine.model,
    ...streaming(request),
    ...sampling(request),
    prompt: body['prompt'],
    ...(isObject(schema) ? { json_schema: schema } : {}),
    ...(body['logprobs'] === true ? { logprobs: alternatives(body) } : {}),
  }
}
