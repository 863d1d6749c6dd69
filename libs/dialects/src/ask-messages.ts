import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { ExchangeRequest } from './dialect.ts'

/** The JSON Schema that the answer is to follow. */
export const wantedSchema = ({ output_config: config }: JsonObject): JsonObject | undefined => {
  const format = isObject(config) ? config['format'] : undefined
  return isObject(format) && isObject(format['schema']) ? format['schema'] : undefined
}

/**
 * The tools that the model may use, and whether it must use one. Neither engine knows how to forbid tools, or to ask for one of
 * several, so what may not be used is not offered.
 */
export const toolsOf = ({ tools, tool_choice: choice }: JsonObject): { tools: JsonObject[]; must: boolean } => {
  const all = Array.isArray(tools) ? tools.filter(isObject) : []
  if (!isObject(choice)) return { tools: all, must: false }
  const { type, name } = choice
  if (type === 'none') return { tools: [], must: false }
  return { tools: type === 'tool' ? all.filter((tool) => tool['name'] === name) : all, must: type === 'tool' || type === 'any' }
}

/** Whether the model is told to think or not to; `undefined` leaves it to the model. */
export const thinksOf = ({ thinking }: JsonObject): boolean | undefined => {
  const type = isObject(thinking) ? thinking['type'] : undefined
  return type === 'enabled' ? true : type === 'disabled' ? false : undefined
}

/** What llama-server's templates read of thinking and effort: its `/v1/messages` knows a budget, and neither of these. */
export const templateFields = (body: JsonObject): JsonObject => {
  const { output_config: config } = body
  const effort = isObject(config) ? config['effort'] : undefined
  const thinks = thinksOf(body)
  const fields = {
    ...(thinks === undefined ? {} : { enable_thinking: thinks }),
    ...(effort === undefined ? {} : { reasoning_effort: effort }),
  }
  return Object.keys(fields).length > 0 ? { chat_template_kwargs: fields } : {}
}

/** What a request's prompt is made of, and its settings, for an engine that has Anthropic's endpoints. */
export const askPrompt = ({ body, engine }: ExchangeRequest): JsonObject => {
  const { tools: _tools, tool_choice: choice, thinking, ...rest } = body
  const { tools, must } = toolsOf(body)
  const parallel = isObject(choice) && choice['disable_parallel_tool_use'] === true ? { disable_parallel_tool_use: true } : {}
  return {
    ...rest,
    model: engine.model,
    // Of thinking that is left to the model engines know nothing: it is what they do unasked.
    ...(thinksOf(body) === undefined ? {} : { thinking }),
    ...(isFilled(tools) ? { tools, ...(must ? { tool_choice: { type: 'any', ...parallel } } : {}) } : {}),
    ...(engine.kind === 'llama-server' ? templateFields(body) : {}),
  }
}

/** A `/v1/messages` request for an engine that has the endpoint. */
export const askMessages = (request: ExchangeRequest): JsonObject => ({ ...askPrompt(request), stream: true })

/** Engines that have `/v1/messages` pass over a schema there, so such a request goes where it counts. */
export const saysAll = ({ body }: ExchangeRequest): boolean => wantedSchema(body) === undefined
