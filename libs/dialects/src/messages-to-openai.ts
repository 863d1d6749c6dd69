import { templateFields, thinksOf, toolsOf, wantedSchema } from './ask-messages.ts'
import { streaming } from './ask.ts'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'
import { openAiToChat } from './openai-to-ollama.ts'

const blocksOf = (content: unknown): JsonObject[] =>
  typeof content === 'string' ? [{ type: 'text', text: content }] : Array.isArray(content) ? content.filter(isObject) : []

const textOf = (blocks: readonly JsonObject[]): string =>
  blocks.flatMap(({ type, text }) => (type === 'text' && typeof text === 'string' ? [text] : [])).join('\n')

const imagePart = ({ source }: JsonObject): JsonObject => {
  const { media_type: media, data } = isObject(source) ? source : {}
  return { type: 'image_url', image_url: { url: `data:${String(media)};base64,${String(data)}` } }
}

/** Text and images as OpenAI's parts; text alone stays a text. */
const saidOf = (blocks: readonly JsonObject[]): unknown =>
  blocks.some(({ type }) => type === 'image')
    ? blocks.map((block) => (block['type'] === 'image' ? imagePart(block) : { type: 'text', text: block['text'] }))
    : textOf(blocks)

/** A tool's answer is a message of its own there, and holds no images: those follow as the user's. */
const toolAnswer = ({ tool_use_id: id, content }: JsonObject): JsonObject[] => {
  const blocks = blocksOf(content)
  const images = blocks.filter(({ type }) => type === 'image')
  return [
    { role: 'tool', tool_call_id: id, content: textOf(blocks) },
    ...(images.length > 0 ? [{ role: 'user', content: images.map(imagePart) }] : []),
  ]
}

const userTurn = (blocks: readonly JsonObject[]): JsonObject[] => {
  const answers = blocks.filter(({ type }) => type === 'tool_result')
  const said = blocks.filter(({ type }) => type === 'text' || type === 'image')
  return [...answers.flatMap(toolAnswer), ...(said.length > 0 || answers.length === 0 ? [{ role: 'user', content: saidOf(said) }] : [])]
}

const assistantTurn = (blocks: readonly JsonObject[]): JsonObject => {
  const thoughts = blocks.flatMap(({ type, thinking }) => (type === 'thinking' && typeof thinking === 'string' ? [thinking] : []))
  const calls = blocks
    .filter(({ type }) => type === 'tool_use')
    .map(({ id, name, input }) => ({ id, type: 'function', function: { name, arguments: JSON.stringify(input ?? {}) } }))
  return {
    role: 'assistant',
    content: textOf(blocks),
    ...(thoughts.length > 0 ? { reasoning_content: thoughts.join('\n') } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  }
}

const messagesOf = ({ system, messages }: JsonObject): JsonObject[] => {
  const rules = textOf(blocksOf(system))
  const turns = (Array.isArray(messages) ? messages.filter(isObject) : []).flatMap(({ role, content }) => {
    const blocks = blocksOf(content)
    if (role === 'assistant') return [assistantTurn(blocks)]
    return role === 'system' ? [{ role, content: textOf(blocks) }] : userTurn(blocks)
  })
  return [...(rules ? [{ role: 'system', content: rules }] : []), ...turns]
}

const toolFields = (body: JsonObject): JsonObject => {
  const { tools, must } = toolsOf(body)
  if (tools.length === 0) return {}
  const { tool_choice: choice } = body
  return {
    tools: tools.map(({ name, description, input_schema: parameters }) => ({
      type: 'function',
      function: { name, ...(description === undefined ? {} : { description }), parameters },
    })),
    ...(must ? { tool_choice: 'required' } : {}),
    ...(isObject(choice) && choice['disable_parallel_tool_use'] === true ? { parallel_tool_calls: false } : {}),
  }
}

/** Settings that both APIs name alike. */
const SAME_NAME = ['max_tokens', 'temperature', 'top_p', 'top_k']

/** A `/v1/messages` request as `/v1/chat/completions`. */
export const messagesToOpenAi = (request: ExchangeRequest): JsonObject => {
  const { body, engine } = request
  const out: JsonObject = { model: engine.model, ...streaming(request), messages: messagesOf(body), ...toolFields(body) }
  for (const name of SAME_NAME) if (body[name] !== undefined) out[name] = body[name]
  if (isFilled(body['stop_sequences'])) out['stop'] = body['stop_sequences']
  const schema = wantedSchema(body)
  if (schema) out['response_format'] = { type: 'json_schema', json_schema: { name: 'answer', schema } }
  if (engine.kind === 'llama-server') return { ...out, ...templateFields(body) }
  // To be told to think makes Ollama refuse a model that cannot; one that can does so unasked.
  if (thinksOf(body) === false) out['reasoning_effort'] = 'none'
  return out
}

/** A `/v1/messages` request as Ollama's `/api/chat`. */
export const messagesToChat = (request: ExchangeRequest): JsonObject => openAiToChat({ ...request, body: messagesToOpenAi(request) })
