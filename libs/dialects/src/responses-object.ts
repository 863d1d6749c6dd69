import type { Usage } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'
import type { GenerationRequest } from './route.ts'

export type ResponseStatus = 'queued' | 'in_progress' | 'completed' | 'incomplete' | 'failed' | 'cancelled'

/** How far a response is. */
export interface ResponseState {
  status: ResponseStatus
  /** Epoch ms. */
  completedAt?: number
  /** Why it is not complete. */
  cut?: string | undefined
  output?: readonly JsonObject[]
  usage?: Usage
  cachedTokens?: number | undefined
}

/** What is known of a request when its response is told; a job's own is more than that. */
export type ResponseRequest = Pick<GenerationRequest, 'body' | 'id' | 'asked' | 'createdAt'>

/** The response goes on without its client. */
export const isBackground = ({ body }: Pick<ResponseRequest, 'body'>): boolean => body['background'] === true

/** How many of the tokens were thoughts no engine tells. */
const usageObject = ({ promptTokens, completionTokens }: Usage, cachedTokens = 0): JsonObject => ({
  input_tokens: promptTokens,
  input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
  output_tokens: completionTokens,
  output_tokens_details: { reasoning_tokens: 0 },
  total_tokens: promptTokens + completionTokens,
})

/**
 * A response with every field that the API gives it. What the client left open is told as open where only the model knows it. When one
 * that is kept was created stands in its request: it may begin much later.
 */
export const responseObject = ({ body, id, asked, createdAt }: ResponseRequest, { status, completedAt, cut, output = [], usage, cachedTokens }: ResponseState): JsonObject => {
  const { reasoning, text } = body
  const thinks = isObject(reasoning) ? reasoning : {}
  const created = typeof body['created_at'] === 'number' ? body['created_at'] : Math.floor(createdAt / 1_000)
  return {
    id: `resp_${id}`,
    object: 'response',
    created_at: created,
    status,
    access_programs: null,
    background: body['background'] ?? false,
    // By the clock of another machine than its beginning.
    completed_at: status === 'completed' && completedAt !== undefined ? Math.max(created, Math.floor(completedAt / 1_000)) : null,
    error: null,
    incomplete_details: cut === undefined ? null : { reason: cut },
    instructions: body['instructions'] ?? null,
    max_output_tokens: body['max_output_tokens'] ?? null,
    max_tool_calls: null,
    model: asked,
    output,
    parallel_tool_calls: body['parallel_tool_calls'] ?? true,
    previous_response_id: body['previous_response_id'] ?? null,
    prompt_cache_key: body['prompt_cache_key'] ?? null,
    reasoning: { effort: thinks['effort'] ?? null, summary: thinks['summary'] ?? thinks['generate_summary'] ?? null },
    safety_identifier: body['safety_identifier'] ?? null,
    service_tier: 'default',
    store: body['store'] ?? false,
    temperature: body['temperature'] ?? null,
    text: isObject(text) && isObject(text['format']) ? text : { format: { type: 'text' } },
    tool_choice: body['tool_choice'] ?? 'auto',
    tools: body['tools'] ?? [],
    top_logprobs: body['top_logprobs'] ?? 0,
    top_p: body['top_p'] ?? null,
    truncation: 'disabled',
    usage: usage ? usageObject(usage, cachedTokens) : null,
    user: body['user'] ?? null,
    metadata: body['metadata'] ?? {},
  }
}
