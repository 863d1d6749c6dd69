import { isFilled, isObject, type JsonObject } from '../delta.ts'
import { expectedBody } from './llama-exceptions.ts'
import type { LlamaCase } from './llama-cases.ts'

interface Token {
  token: string
  logprob: number
  bytes: number[]
  top_logprobs?: Token[]
}

/** What a native answer says, streamed or not, without times. */
export interface Native {
  text: string
  thinking: string
  calls: { name: unknown; arguments: unknown }[]
  logprobs: Token[]
  done_reason: unknown
  prompt: unknown
  completion: unknown
}

const object = (value: unknown): JsonObject => (isObject(value) ? value : {})
const list = (value: unknown): JsonObject[] => (Array.isArray(value) ? value.filter(isObject) : [])
const text = (value: unknown): string => (typeof value === 'string' ? value : '')

const tokenOf = ({ token, logprob, bytes }: JsonObject) => ({ token, logprob, bytes }) as Token

/** What llama-server says in its own body, in the words of Ollama's API. */
export const nativeOf = (own: JsonObject, theCase: LlamaCase): Native => {
  const { choices, usage } = expectedBody(own, { ...theCase, dialect: theCase.body['raw'] === true ? 'openai.completions' : 'openai.chat' })
  const [choice = {}] = list(choices)
  const message = object(choice['message'])
  const most = Number(theCase.body['top_logprobs'] ?? 0)
  return {
    text: text(message['content'] ?? choice['text']),
    thinking: text(message['reasoning_content']),
    calls: list(message['tool_calls']).map((call) => {
      const { name, arguments: given } = object(call['function'])
      return { name, arguments: JSON.parse(text(given)) as unknown }
    }),
    logprobs: list(object(choice['logprobs'])['content']).map((token) => ({
      ...tokenOf(token),
      ...(most > 0 ? { top_logprobs: list(token['top_logprobs']).slice(0, most).map(tokenOf) } : {}),
    })),
    done_reason: choice['finish_reason'] === 'length' ? 'length' : 'stop',
    prompt: object(usage)['prompt_tokens'],
    completion: object(usage)['completion_tokens'],
  }
}

/** What a client hears in a native stream, or in one body. @throws Error where an event is not the last and is done, or the other way round */
export const heardNative = (answer: string): Native => {
  const heard: Native = { text: '', thinking: '', calls: [], logprobs: [], done_reason: undefined, prompt: undefined, completion: undefined }
  const events = answer.trimEnd().split('\n').map((line) => object(JSON.parse(line)))
  for (const [at, event] of events.entries()) {
    if ((event['done'] === true) !== (at === events.length - 1)) throw new Error(`event ${at} of ${events.length} has done: ${String(event['done'])}`)
    const said = isObject(event['message']) ? event['message'] : event
    heard.text += text(said['content'] ?? said['response'])
    heard.thinking += text(said['thinking'])
    for (const call of list(said['tool_calls'])) {
      const { name, arguments: given } = object(call['function'])
      heard.calls.push({ name, arguments: given })
    }
    if (isFilled(event['logprobs'])) heard.logprobs.push(...(event['logprobs'] as Token[]))
    heard.done_reason = event['done_reason']
    heard.prompt = event['prompt_eval_count']
    heard.completion = event['eval_count']
  }
  return heard
}
