import { BrokerError } from '@drover/core'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { imageBytes } from './images.ts'
import { unsupported } from './refusal.ts'
import { readArguments } from './tool-calls.ts'

/** Sampling settings that both APIs name alike, OpenAI's own and llama.cpp's. */
const SAME_NAME = ['temperature', 'top_p', 'top_k', 'min_p', 'typical_p', 'repeat_penalty', 'repeat_last_n', 'presence_penalty',
  'frequency_penalty', 'seed']

/** Sampling settings of an OpenAI request, and the node's own context length, as native options. */
export const optionsOf = ({ body, policy }: ExchangeRequest): JsonObject => {
  const options: JsonObject = {}
  for (const name of SAME_NAME) if (body[name] !== undefined) options[name] = body[name]
  const limit = body['max_completion_tokens'] ?? body['max_tokens']
  if (limit !== undefined) options['num_predict'] = limit
  if (body['stop'] !== undefined) options['stop'] = [body['stop']].flat()
  if (policy.numCtx !== undefined) options['num_ctx'] = policy.numCtx
  return options
}

const formatOf = (format: unknown): JsonObject => {
  if (!isObject(format) || format['type'] === 'text') return {}
  const inner = isObject(format['json_schema']) ? format['json_schema']['schema'] : undefined
  return { format: inner ?? format['schema'] ?? 'json' }
}

/** Ollama's own table of efforts. */
const THINK: Record<string, boolean | string> = {
  none: false, minimal: 'low', low: 'low', medium: 'medium', high: 'high', max: 'max', xhigh: 'max', ultra: 'max',
}

const thinkOf = ({ reasoning, reasoning_effort: effort }: JsonObject): JsonObject => {
  const given = effort ?? (isObject(reasoning) ? reasoning['effort'] : undefined)
  return typeof given === 'string' ? { think: THINK[given] } : {}
}

/** Text parts joined, and the bytes of all other parts. */
const contentOf = (content: unknown): JsonObject => {
  if (!Array.isArray(content)) return { content: content ?? '' }
  const parts = content.filter(isObject)
  const texts = parts.filter(({ type }) => type === 'text').map(({ text }) => text)
  const images = parts.flatMap(({ image_url: image, input_audio: audio }) => {
    if (isObject(image) && typeof image['url'] === 'string') return [imageBytes(image['url'])]
    return isObject(audio) ? [audio['data']] : []
  })
  return { content: texts.join('\n'), ...(images.length > 0 ? { images } : {}) }
}

const toolCall = (call: JsonObject, index: number): JsonObject => {
  const called = isObject(call['function']) ? call['function'] : {}
  const given = readArguments(typeof called['arguments'] === 'string' ? called['arguments'] : '')
  if (!given) throw new BrokerError('engine_refused', 'invalid tool call arguments: not a JSON object', { status: 400 })
  return { ...(call['id'] ? { id: call['id'] } : {}), function: { index, name: called['name'], arguments: given } }
}

const messagesOf = (messages: readonly unknown[]): JsonObject[] => {
  const names = new Map<unknown, unknown>()
  return messages.filter(isObject).map((message) => {
    const { role, content, name, reasoning, reasoning_content: thought = reasoning, tool_calls: calls, tool_call_id: id } = message
    const out = contentOf(content)
    out['role'] = role
    if (thought) out['thinking'] = thought
    if (isFilled(calls)) {
      const given = calls.filter(isObject)
      for (const call of given) if (isObject(call['function'])) names.set(call['id'], call['function']['name'])
      out['tool_calls'] = given.map(toolCall)
    }
    if (role === 'tool') {
      if (id) out['tool_call_id'] = id
      const tool = name ?? names.get(id)
      if (tool) out['tool_name'] = tool
    }
    return out
  })
}

/**
 * A `/v1/chat/completions` request as `/api/chat`. As on Ollama's own `/v1` there is one answer whatever `n` says, and
 * `tool_choice` counts only where it forbids tools.
 * @throws BrokerError `engine_refused` for a grammar, which an Ollama would pass over
 */
export const openAiToChat = (request: ExchangeRequest): JsonObject => {
  const { body, asked, engine, policy } = request
  if (body['grammar']) throw unsupported(asked, 'grammar')
  const { messages, tools, tool_choice: choice, logprobs, top_logprobs: alternatives } = body
  const options = optionsOf(request)
  return {
    model: engine.model,
    stream: true,
    messages: messagesOf(Array.isArray(messages) ? messages : []),
    ...(Array.isArray(tools) && choice !== 'none' ? { tools } : {}),
    ...(Object.keys(options).length > 0 ? { options } : {}),
    ...formatOf(body['response_format']),
    ...thinkOf(body),
    ...(logprobs === true ? { logprobs, ...(alternatives === undefined ? {} : { top_logprobs: alternatives }) } : {}),
    ...(policy.keepAlive === undefined ? {} : { keep_alive: policy.keepAlive }),
  }
}
