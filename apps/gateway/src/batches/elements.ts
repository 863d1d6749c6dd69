import { BrokerError } from '@drover/core'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [0x7b, 0x7d, 0x5b, 0x5d]
const isBlank = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
const COMMA = 0x2c
const KEY_BYTES = 256

export interface ElementsOptions {
  /** The field of the outermost object whose elements these are. */
  field: string
  /** Most bytes of one element. */
  most: number
}

const wrong = (message: string) => new BrokerError('bad_request', message)

/**
 * The objects of a list within a large JSON object, each as its own text, as they come: no more than one of them is held. Only where they
 * begin and end is looked at here; whoever parses them learns whether they are valid. Parsers that build what they read take a hundred
 * times as long.
 * @throws BrokerError `bad_request` when that is not what comes
 */
export async function* elementsOf(content: AsyncIterable<Uint8Array>, { field, most }: ElementsOptions): AsyncGenerator<Buffer> {
  const wanted = Buffer.from(field)
  let depth = 0
  let inString = false
  let escaped = false
  /** Of the outermost object: the string that was read last, and the field whose value comes. */
  let word: number[] = []
  let key: string | undefined
  let listed = false
  let inList = false
  let begun = false
  let ended = false
  let held: Buffer[] = []
  let length = 0
  for await (const each of content) {
    const chunk = Buffer.from(each.buffer, each.byteOffset, each.byteLength)
    /** Where the element that is being read begins in this chunk; -1: none is. */
    let from = inList && depth > 2 ? 0 : -1
    for (let i = 0; i < chunk.length; i += 1) {
      const byte = chunk[i]!
      if (inString) {
        if (escaped) escaped = false
        else if (byte === BACKSLASH) escaped = true
        else if (byte === QUOTE) inString = false
        else if (depth === 1 && word.length < KEY_BYTES) word.push(byte)
        continue
      }
      if (ended) {
        if (isBlank(byte)) continue
        throw wrong('the request body is not valid JSON')
      }
      if (byte === QUOTE) {
        if (!begun || (inList && depth === 2)) throw wrong(inList ? `${field}: each of them is an object` : 'the request body is not a JSON object')
        inString = true
        if (depth === 1) word = []
      } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        if (!begun && byte === OPEN_ARRAY) throw wrong('the request body is not a JSON object')
        begun = true
        if (inList && depth === 2) {
          if (byte === OPEN_ARRAY) throw wrong(`${field}: each of them is an object`)
          from = i
        } else if (depth === 1 && key === field) {
          if (byte !== OPEN_ARRAY) throw wrong(`${field}: is a list`)
          inList = true
          listed = true
        }
        depth += 1
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
        depth -= 1
        if (depth < 0) throw wrong('the request body is not valid JSON')
        if (depth === 0) ended = true
        else if (inList && depth === 1) inList = false
        else if (inList && depth === 2) {
          held.push(chunk.subarray(from, i + 1))
          const element = held.length === 1 ? held[0]! : Buffer.concat(held)
          held = []
          length = 0
          from = -1
          if (element.length > most) throw new BrokerError('body_too_large', `${field}: one of them is larger than ${most} bytes`)
          yield element
        }
      } else if (depth === 1 && byte === COLON) key = Buffer.from(word).equals(wanted) ? field : undefined
      else if (inList && depth === 2 && byte !== COMMA && !isBlank(byte)) throw wrong(`${field}: each of them is an object`)
      else if (!begun && !isBlank(byte)) throw wrong('the request body is not a JSON object')
    }
    if (from >= 0) {
      held.push(chunk.subarray(from))
      length += chunk.length - from
      if (length > most) throw new BrokerError('body_too_large', `${field}: one of them is larger than ${most} bytes`)
    }
  }
  if (!ended) throw wrong('the request body is not valid JSON')
  if (!listed) throw wrong(`${field}: Field required`)
}
