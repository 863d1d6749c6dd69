import { isObject, type JsonObject } from '../delta.ts'
import { ASKED, type OllamaCase, type Way } from './ollama-cases.ts'
import type { Said } from './shapes.ts'

/** Where an answer of Drover's is not a real Ollama's (v0.33). */
export interface Exception {
  name: string
  why: string
  ways: readonly Way[]
  /** The Ollama's own events as the client gets them. */
  apply(events: readonly Said[], theCase: OllamaCase, stream: boolean): Said[]
}

const object = (value: unknown): JsonObject => (isObject(value) ? value : {})

const each = (change: (data: JsonObject, last: boolean) => JsonObject) => (events: readonly Said[]): Said[] =>
  events.map(({ type, data }, at) => ({ type, data: isObject(data) ? change(data, at === events.length - 1) : data }))

const only = (belongs: (theCase: OllamaCase, stream: boolean) => boolean, apply: (events: readonly Said[]) => Said[]): Exception['apply'] =>
  (events, theCase, stream) => (belongs(theCase, stream) ? apply(events) : [...events])

const without = (names: readonly string[]) => (data: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(data).filter(([name]) => !names.includes(name)))

const isNative = ({ dialect }: OllamaCase) => dialect === 'ollama.chat' || dialect === 'ollama.generate'

const inChoices = ({ choices }: JsonObject, change: (choice: JsonObject) => JsonObject): JsonObject =>
  Array.isArray(choices) ? { choices: choices.map((choice) => change(object(choice))) } : {}

const withLogprobs = (data: JsonObject): JsonObject => ({ ...data, ...inChoices(data, (choice) => ({ logprobs: null, ...choice })) })

const stopped = (data: JsonObject): JsonObject => {
  const { type, message, delta } = data
  if (type === 'message_start') return { ...data, message: { ...object(message), stop_reason: null, stop_sequence: null } }
  if (type === 'message_delta') return { ...data, delta: { ...object(delta), stop_sequence: null } }
  return type === 'message' ? { ...data, stop_sequence: null } : data
}

const signedBlock = (block: unknown): unknown => (object(block)['type'] === 'thinking' ? { ...object(block), signature: '' } : block)

const signed = (data: JsonObject): JsonObject => {
  const { type, content_block: block, content } = data
  if (type === 'content_block_start') return { ...data, content_block: signedBlock(block) }
  return Array.isArray(content) ? { ...data, content: content.map(signedBlock) } : data
}

export const OLLAMA_EXCEPTIONS: readonly Exception[] = [
  {
    name: 'The model’s name',
    why: 'Drover asks by the name that the node has for the model; the client reads the one that it wrote.',
    ways: ['ollama', 'policy', 'llama'],
    apply: each((data) => {
      const message = object(data['message'])
      if ('model' in message) return { ...data, message: { ...message, model: ASKED } }
      return 'model' in data ? { ...data, model: ASKED } : data
    }),
  },
  {
    name: 'No time of loading',
    why: 'A llama-server has its model in memory all the time, and Ollama leaves out what is zero.',
    ways: ['llama'],
    apply: only((theCase) => isNative(theCase), each(without(['load_duration']))),
  },
  {
    name: 'No times of embeddings',
    why: 'A llama-server does not tell them.',
    ways: ['llama'],
    apply: only(({ dialect }) => dialect === 'ollama.embed', each(without(['total_duration', 'load_duration']))),
  },
  {
    name: 'No context',
    why: 'The deprecated list of tokens would have to be counted anew on the llama-server; what a client sends back of it is refused in clear words.',
    ways: ['llama'],
    apply: only(({ dialect }) => dialect === 'ollama.generate', each(without(['context']))),
  },
  {
    name: 'Tool calls come before the last event',
    why: 'As from an Ollama whose own parser found them: it has both forms, and clients must read them from any event.',
    ways: ['llama'],
    apply: only(({ dialect }, stream) => stream && dialect === 'ollama.chat', (events) =>
      events.flatMap(({ type, data }): Said[] => {
        const { message, ...rest } = object(data)
        const { tool_calls: calls, ...said } = object(message)
        if (!calls || rest['done'] !== true) return [{ type, data }]
        const { model, created_at: at } = rest
        return [{ type, data: { model, created_at: at, message, done: false } }, { type, data: { ...rest, message: said } }]
      })),
  },
  {
    name: 'No usage before the last event of a completion',
    why: 'Ollama has a usage of zero in every event, where OpenAI’s API has null.',
    ways: ['ollama'],
    apply: only(({ dialect }) => dialect === 'openai.completions', each((data) => (object(data['usage'])['total_tokens'] === 0 ? { ...data, usage: null } : data))),
  },
  {
    name: 'Bodies of completions have a field for log probabilities',
    why: 'OpenAI’s API has it in every choice, null where none were asked for.',
    ways: ['ollama'],
    apply: only(({ dialect }, stream) => dialect === 'openai.completions' && !stream, each(withLogprobs)),
  },
  {
    name: 'Completions that Drover writes itself',
    why: 'In OpenAI’s API every choice has log probabilities, or null, and only the last event has a usage.',
    ways: ['policy'],
    apply: only(({ dialect }) => dialect === 'openai.completions', each((data) => withLogprobs(object(data['usage'])['total_tokens'] === 0 ? without(['usage'])(data) : data))),
  },
  {
    name: 'A call has no index in a body',
    why: 'In OpenAI’s API only pieces of a stream have one.',
    ways: ['ollama', 'policy'],
    apply: only(({ dialect }, stream) => !stream && dialect === 'openai.chat', each((data) => ({
      ...data, ...inChoices(data, (choice) => {
        const { tool_calls: calls, ...message } = object(choice['message'])
        return Array.isArray(calls) ? { ...choice, message: { ...message, tool_calls: calls.map((call) => without(['index'])(object(call))) } } : choice
      }),
    }))),
  },
  {
    name: 'Stop reasons and sequences are null where there are none',
    why: 'Ollama leaves them out; Anthropic’s API has them always.',
    ways: ['ollama', 'policy'],
    apply: only(({ dialect }) => dialect === 'anthropic.messages', each(stopped)),
  },
  {
    name: 'A thought in a body has a signature',
    why: 'Ollama leaves it out; in Anthropic’s API it is always there, and may be empty.',
    ways: ['ollama'],
    apply: only(({ dialect }, stream) => dialect === 'anthropic.messages' && !stream, each(signed)),
  },
  {
    name: 'A thought that Drover writes itself has a signature',
    why: 'The same, streamed too: events of the engine’s own pass without one.',
    ways: ['policy'],
    apply: only(({ dialect }) => dialect === 'anthropic.messages', each(signed)),
  },
]

/** An Ollama's own events as the client of Drover gets them on this way. */
export const expectedEvents = (way: Way, theCase: OllamaCase, stream: boolean, events: readonly Said[]): Said[] =>
  OLLAMA_EXCEPTIONS.filter(({ ways }) => ways.includes(way)).reduce<Said[]>((now, { apply }) => apply(now, theCase, stream), [...events])
