import { streaming } from './ask.ts'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import { LOGPROBS } from './responses-request.ts'
import type { GenerationRequest } from './route.ts'

/** Settings that both APIs name alike. */
const SAME_NAME = ['temperature', 'top_p', 'parallel_tool_calls']

const objects = (value: unknown): JsonObject[] => (Array.isArray(value) ? value.filter(isObject) : [])

const partOf = (part: JsonObject): JsonObject => {
  if (part['type'] === 'input_image') return { type: 'image_url', image_url: { url: part['image_url'] } }
  const { input_audio: audio } = part
  if (isObject(audio)) return { type: 'input_audio', input_audio: { format: 'wav', ...audio } }
  return { type: 'text', text: part['text'] ?? part['refusal'] }
}

/** Text alone goes as text: that is what every template reads. */
const contentOf = (content: unknown): unknown => {
  if (!Array.isArray(content)) return content
  const parts = objects(content).map(partOf)
  return parts.every(({ type }) => type === 'text') ? parts.map(({ text }) => text).join('') : parts
}

const textsOf = (list: unknown): string => objects(list).map(({ text }) => text).join('')

/** Thoughts as they were, or else what was told of them. What another server has encrypted means nothing here. */
const thoughtsOf = ({ content, summary }: JsonObject): string => textsOf(content) || textsOf(summary)

/**
 * The conversation as chat messages. What is one turn of the assistant there (thoughts, text, calls) stands in items of their own
 * here, one after another.
 */
const messagesOf = ({ body: { instructions, input }, engine }: GenerationRequest): JsonObject[] => {
  const field = engine.kind === 'ollama' ? 'reasoning' : 'reasoning_content'
  const messages: JsonObject[] = []
  if (typeof instructions === 'string' && instructions) messages.push({ role: 'system', content: instructions })
  if (typeof input === 'string') messages.push({ role: 'user', content: input })
  /** The assistant's turn that is being put together. */
  let turn: JsonObject | undefined
  const ownTurn = (): JsonObject => {
    if (!turn) messages.push((turn = { role: 'assistant', content: '' }))
    return turn
  }
  for (const item of objects(input)) {
    const { type, role } = item
    if (type === 'reasoning') {
      const thoughts = thoughtsOf(item)
      if (!thoughts) continue
      if (turn?.['content']) turn = undefined
      const own = ownTurn()
      own[field] = `${String(own[field] ?? '')}${thoughts}`
    } else if (type === 'function_call') {
      const own = ownTurn()
      const call = { id: item['call_id'], type: 'function', function: { name: item['name'], arguments: item['arguments'] || '{}' } }
      own['tool_calls'] = [...objects(own['tool_calls']), call]
    } else if (type === 'message' && role === 'assistant') {
      if (turn?.['content']) turn = undefined
      ownTurn()['content'] = contentOf(item['content'])
    } else {
      turn = undefined
      if (type === 'function_call_output') messages.push({ role: 'tool', tool_call_id: item['call_id'], content: contentOf(item['output']) })
      // Few templates know the newer name of this role.
      else messages.push({ role: role === 'developer' ? 'system' : role, content: contentOf(item['content']) })
    }
  }
  return messages
}

const toolOf = ({ name, description, parameters, strict }: JsonObject): JsonObject => ({
  type: 'function',
  function: {
    name,
    ...(typeof description === 'string' ? { description } : {}),
    ...(isObject(parameters) ? { parameters } : {}),
    ...(typeof strict === 'boolean' ? { strict } : {}),
  },
})

/**
 * Engines know a choice only as a word, and Ollama not even that: so a function that must be called, or several that may be, are
 * the only ones offered.
 */
const toolsOf = ({ tools, tool_choice: choice }: JsonObject): JsonObject => {
  if (!isFilled(tools) || choice === 'none') return {}
  const all = objects(tools)
  if (!isObject(choice)) return { tools: all.map(toolOf), ...(choice === undefined ? {} : { tool_choice: choice }) }
  const wanted = new Set(choice['type'] === 'function' ? [choice['name']] : objects(choice['tools']).map(({ name }) => name))
  const mode = choice['type'] === 'function' ? 'required' : choice['mode']
  return { tools: all.filter(({ name }) => wanted.has(name)).map(toolOf), tool_choice: mode }
}

const formatOf = (text: unknown): JsonObject => {
  const format = isObject(text) ? text['format'] : undefined
  if (!isObject(format) || format['type'] === 'text') return {}
  if (format['type'] === 'json_object') return { response_format: { type: 'json_object' } }
  const { type: _type, name = 'answer', ...schema } = format
  return { response_format: { type: 'json_schema', json_schema: { name, ...schema } } }
}

/** A template reads an effort, or whether there are to be thoughts at all; one that knows neither passes over both. */
const reasoningOf = ({ reasoning }: JsonObject, kind: string): JsonObject => {
  const effort = isObject(reasoning) ? reasoning['effort'] : undefined
  if (effort === undefined) return {}
  return {
    reasoning_effort: effort,
    ...(kind === 'llama-server' ? { chat_template_kwargs: { enable_thinking: effort !== 'none' } } : {}),
  }
}

/** How many alternatives to each token the client wants to see; `undefined`: no log probabilities at all. */
export const alternatives = ({ include, top_logprobs: most }: JsonObject): number | undefined => {
  const count = typeof most === 'number' ? most : 0
  return count > 0 || (Array.isArray(include) && include.includes(LOGPROBS)) ? count : undefined
}

/** llama-server gives log probabilities only where at least one alternative is asked for; the writer takes one too many away. */
const logprobsOf = (body: JsonObject): JsonObject => {
  const most = alternatives(body)
  return most === undefined ? {} : { logprobs: true, top_logprobs: Math.max(1, most) }
}

/** A `/v1/responses` request as `/v1/chat/completions`. */
export const responsesToOpenAi = (request: GenerationRequest): JsonObject => {
  const { body, engine } = request
  const chat: JsonObject = { model: engine.model, messages: messagesOf(request) }
  for (const name of SAME_NAME) if (body[name] !== undefined) chat[name] = body[name]
  if (body['max_output_tokens'] !== undefined) chat['max_tokens'] = body['max_output_tokens']
  Object.assign(chat, toolsOf(body), formatOf(body['text']), reasoningOf(body, engine.kind), logprobsOf(body))
  return { ...chat, ...streaming({ ...request, body: chat }) }
}
