/** A line of a file. */
export interface Line {
  /** From 1, empty lines counted. */
  number: number
  /** Where it begins, bytes. */
  offset: number
  length: number
  /** Without its end; absent: it is longer than lines may be. */
  bytes?: Buffer
}

const NEWLINE = 10
const RETURN = 13

/** The lines of a file as they come, without those that are empty. No more than one line and one chunk are held. */
export async function* linesOf(content: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Line> {
  let held: Buffer[] = []
  let length = 0
  let offset = 0
  let number = 1
  const take = (): Line | undefined => {
    const fits = length <= most
    let bytes = fits ? (held.length === 1 ? held[0]! : Buffer.concat(held)) : undefined
    if (bytes?.at(-1) === RETURN) bytes = bytes.subarray(0, -1)
    const line = { number, offset, length: bytes?.length ?? length, ...(bytes && { bytes }) }
    const empty = bytes !== undefined && isBlank(bytes)
    offset += length + 1
    number += 1
    length = 0
    held = []
    return empty ? undefined : line
  }
  for await (const each of content) {
    const chunk = Buffer.from(each.buffer, each.byteOffset, each.byteLength)
    let from = 0
    for (let to = chunk.indexOf(NEWLINE); to >= 0; to = chunk.indexOf(NEWLINE, from)) {
      length += to - from
      if (length <= most) held.push(chunk.subarray(from, to))
      from = to + 1
      const line = take()
      if (line) yield line
    }
    length += chunk.length - from
    if (length <= most) {
      if (from < chunk.length) held.push(chunk.subarray(from))
    } else held = []
  }
  if (length === 0) return
  const line = take()
  if (line) yield line
}

const isBlank = (bytes: Buffer): boolean => bytes.length < 64 && bytes.toString('latin1').trim() === ''
