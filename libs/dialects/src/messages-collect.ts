import { BrokerError } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'
import { protocol } from './engine-event.ts'
import { asDocumented } from './messages-reader.ts'
import { readArguments } from './tool-calls.ts'

/** Most characters of an answer that is sent as one body, and most blocks of it. */
const ANSWER_CHARS = 64 * 1024 * 1024
const ANSWER_BLOCKS = 10_000

/** A block under construction: texts are joined once, at the end. */
interface Block {
  head: JsonObject
  pieces: Record<'text' | 'thinking' | 'signature' | 'json', string>
}

/** What each kind of delta adds to. */
const FIELDS = { text_delta: 'text', thinking_delta: 'thinking', signature_delta: 'signature', input_json_delta: 'json' } as const
const isKnown = (type: unknown): type is keyof typeof FIELDS => typeof type === 'string' && Object.hasOwn(FIELDS, type)

/** A message put together from the events of its stream; `model` is the name that it goes out under. */
export const messageOf = (model: string) => {
  const blocks = new Map<number, Block>()
  let head: JsonObject = {}
  let chars = 0

  const grow = (index: unknown, delta: unknown): void => {
    const block = typeof index === 'number' ? blocks.get(index) : undefined
    if (!block || !isObject(delta)) throw protocol('the engine sent a piece of a block that it did not begin')
    const { type } = delta
    if (!isKnown(type)) return
    const piece = delta[type === 'input_json_delta' ? 'partial_json' : FIELDS[type]]
    if (typeof piece !== 'string') throw protocol('the engine sent a piece of a block that is no text')
    chars += piece.length
    if (chars > ANSWER_CHARS) throw new BrokerError('answer_too_large', 'the answer is too long to be sent as one body; ask for a stream')
    block.pieces[FIELDS[type]] += piece
  }

  /** A call that the answer's length has cut off is left out: the stop reason says why. */
  const whole = ({ head: begun, pieces: { text, thinking, signature, json } }: Block): JsonObject[] => {
    const block = { ...begun }
    if (text) block['text'] = String(block['text'] ?? '') + text
    if (thinking) block['thinking'] = String(block['thinking'] ?? '') + thinking
    if (block['type'] === 'thinking') block['signature'] = String(block['signature'] ?? '') + signature
    if (!json) return [block]
    const input = readArguments(json)
    if (input) return [{ ...block, input }]
    if (head['stop_reason'] === 'max_tokens') return []
    throw new BrokerError('engine_failed', 'the model made a tool call whose arguments are not a JSON object')
  }

  return {
    take(said: JsonObject): void {
      const { type, message, index, content_block: block, delta, usage } = asDocumented(said)
      if (type === 'message_start' && isObject(message)) head = { ...message }
      else if (type === 'content_block_start') {
        if (typeof index !== 'number' || !isObject(block) || blocks.size >= ANSWER_BLOCKS) throw protocol('the engine began a block that is none')
        blocks.set(index, { head: block, pieces: { text: '', thinking: '', signature: '', json: '' } })
      } else if (type === 'content_block_delta') grow(index, delta)
      else if (type === 'message_delta') {
        if (isObject(delta)) Object.assign(head, delta)
        if (isObject(usage)) head['usage'] = { ...(isObject(head['usage']) ? head['usage'] : {}), ...usage }
      }
    },
    /** The whole message, once its last event was taken. */
    whole(): JsonObject {
      const ordered = [...blocks].toSorted(([a], [b]) => a - b).map(([, block]) => block)
      // Ollama leaves it out where there is none; the API has it always.
      head['stop_sequence'] ??= null
      return { ...head, model, content: ordered.flatMap(whole) }
    },
  }
}
