import { randomBytes } from 'node:crypto'
import type { AnswerFormat, Ending } from './format.ts'

type Fields = Record<string, unknown>

const event = (fields: Fields): string => `event: ${String(fields['type'])}\ndata: ${JSON.stringify(fields)}\n\n`

const stopReason = ({ reason }: Ending) => (reason === 'length' ? 'max_tokens' : 'end_turn')

const common = {
  streamType: 'text/event-stream',
  garbage: 'event: content_block_delta\ndata: %% this is not JSON %%\n\n',
}

const start = (message: Fields) => event({ type: 'message_start', message })
const open = event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } })
const delta = (text: string) =>
  `event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"${text}"}}\n\n`
const close = event({ type: 'content_block_stop', index: 0 })
const stop = event({ type: 'message_stop' })

/** The first piece of text begins the block that all others belong to. */
const tokens = () => {
  let begun = false
  return {
    token(text: string) {
      const out = begun ? delta(text) : open + delta(text)
      begun = true
      return out
    },
    closed: () => (begun ? close : ''),
  }
}

const content = (text: string) => (text === '' ? [] : [{ type: 'text', text }])

/** `/v1/messages` as llama-server answers it. */
export const llamaMessages = (model: string, promptTokens: number): AnswerFormat => {
  const id = `chatcmpl-${randomBytes(24).toString('base64url')}`
  const usage = (output: number) => ({ cache_read_input_tokens: 0, input_tokens: promptTokens, output_tokens: output })
  const { token, closed } = tokens()
  const head = { id, type: 'message', role: 'assistant' }
  return {
    ...common,
    begin: start({ ...head, content: [], model, stop_reason: null, stop_sequence: null, usage: usage(0) }),
    token,
    end: (ending) =>
      closed() +
      event({ type: 'message_delta', delta: { stop_reason: stopReason(ending), stop_sequence: null }, usage: { output_tokens: ending.tokens } }) +
      stop,
    // Its fields stand bare, without the API's own object around them.
    error: (message) => `event: error\ndata: ${JSON.stringify({ code: 500, message, type: 'server_error' })}\n\n`,
    body: (text, ending) =>
      JSON.stringify({
        ...head,
        content: content(text),
        model,
        stop_reason: ending ? stopReason(ending) : null,
        stop_sequence: null,
        usage: usage(ending?.tokens ?? 0),
      }),
  }
}

/** `/v1/messages` as Ollama answers it: its first count of the prompt is an estimate. */
export const ollamaMessages = (model: string): AnswerFormat => {
  const head = { id: `msg_${randomBytes(12).toString('hex')}`, type: 'message', role: 'assistant', model }
  const { token, closed } = tokens()
  return {
    ...common,
    begin: start({ ...head, content: [], usage: { input_tokens: 1, output_tokens: 0 } }),
    token,
    end: (ending) =>
      closed() +
      event({
        type: 'message_delta',
        delta: { stop_reason: stopReason(ending) },
        usage: { input_tokens: ending.promptTokens, output_tokens: ending.tokens },
      }) +
      stop,
    error: (message) => event({ type: 'error', error: { type: 'api_error', message } }),
    body: (text, ending) =>
      JSON.stringify({
        ...head,
        content: content(text),
        ...(ending && { stop_reason: stopReason(ending) }),
        usage: { input_tokens: ending?.promptTokens ?? 0, output_tokens: ending?.tokens ?? 0 },
      }),
  }
}
