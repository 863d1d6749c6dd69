import type { ServerResponse } from 'node:http'
import { sendJson } from '../answer.ts'
import type { AnswerFormat } from '../formats/format.ts'
import type { Ask } from '../inference.ts'
import type { Model } from '../options.ts'
import { promptTokens, readMessages, render, wantedOfChat, type Message } from '../prompt.ts'
import { limitOf, stopsOf, type Fields } from './fields.ts'

const TYPES: Record<number, string> = {
  400: 'invalid_request_error', 401: 'authentication_error', 403: 'permission_error', 404: 'not_found_error', 429: 'rate_limit_error',
  503: 'overloaded_error',
}

/** An error as Ollama has it on Anthropic's route. */
export const messagesError = (response: ServerResponse) => (status: number, message = 'scripted failure') =>
  sendJson(response, { type: 'error', error: { type: TYPES[status] ?? 'api_error', message }, request_id: 'req_scripted' }, status)

/** All messages of a `/v1/messages` request, its system prompt first. */
export const messagesIn = ({ system, messages }: Fields): Message[] => [
  ...readMessages(system === undefined ? [] : [{ role: 'system', content: system }]),
  ...readMessages(messages),
]

/** What a `/v1/messages` request asks of a run. */
export const messagesAsk = (fields: Fields, model: Model, format: (tokens: number) => AnswerFormat): Omit<Ask, 'deaf' | 'refuse'> => {
  const messages = messagesIn(fields)
  const tokens = promptTokens(render(messages, model.continues))
  return {
    model,
    wanted: wantedOfChat(messages, model.continues),
    promptTokens: tokens,
    limit: limitOf(fields['max_tokens']),
    stops: stopsOf(fields['stop_sequences']),
    stream: fields['stream'] === true,
    format: format(tokens),
  }
}
