import { BrokerError } from '@drover/core'
import { isObject, type Finish, type JsonObject, type ToolPiece } from './delta.ts'

export interface ToolCall {
  id: string
  name: string
  arguments: JsonObject
}

/** A call under construction: its arguments are JSON text that may not be whole yet. */
export interface ToolCallText {
  id: string
  name: string
  arguments: string
}

/** Most characters of one answer's tool calls. */
const TOOL_CHARS = 8 * 1024 * 1024

/** Joins the pieces of the tool calls of one answer. */
export class ToolCalls {
  readonly #calls = new Map<number, ToolCallText>()
  readonly #id: string
  #size = 0

  /** `id` makes the ids of calls that the engine left without one. */
  constructor(id: string) {
    this.#id = id
  }

  add(pieces: readonly ToolPiece[]): void {
    for (const { index, id, name = '', arguments: text = '' } of pieces) {
      this.#size += name.length + text.length + 16
      if (this.#size > TOOL_CHARS)
        throw new BrokerError('answer_too_large', `the tool calls are longer than ${TOOL_CHARS} characters`)
      const call = this.#calls.get(index)
      if (!call) this.#calls.set(index, { id: id ?? toolCallId(this.#id, index), name, arguments: text })
      else {
        call.name ||= name
        call.arguments += text
      }
    }
  }

  /** The calls as far as they are known, by index. */
  pieces(): Iterable<readonly [index: number, call: ToolCallText]> {
    return this.#calls
  }

  /** All calls by index, their arguments as text. */
  texts(): ToolCallText[] {
    return [...this.#calls].toSorted(([a], [b]) => a - b).map(([, call]) => call)
  }

  /**
   * All calls with their arguments read. An answer that was cut by its length may have a call that is not whole: it is left out,
   * the finish says why.
   * @throws BrokerError `engine_failed` for arguments that are not a JSON object
   */
  whole(finish: Finish): ToolCall[] {
    return this.texts().flatMap((call) => {
      const given = readArguments(call.arguments)
      if (given) return [{ ...call, arguments: given }]
      if (finish === 'length') return []
      throw new BrokerError('engine_failed', 'the model made a tool call whose arguments are not a JSON object')
    })
  }
}

/** An id in the form that both APIs use, the same whenever it is asked for. */
export const toolCallId = (id: string, index: number): string => `call_${id.replaceAll(/[^A-Za-z0-9]/g, '').slice(-12)}${index}`

export const readArguments = (text: string): JsonObject | undefined => {
  try {
    const value: unknown = text.trim() ? JSON.parse(text) : {}
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
