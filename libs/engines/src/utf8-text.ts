import { Buffer, isUtf8 } from 'node:buffer'

/**
 * Turns bytes into text as they arrive, strictly. A character cut by a read waits for its rest. Nearly every read of a token
 * stream is whole, so the common path is one check and one conversion, cheaper than a `StringDecoder`, which would also let
 * broken bytes pass as U+FFFD.
 */
export class Utf8Text {
  #tail: Buffer | undefined

  /** The whole characters of what has come; `undefined` when it is not UTF-8. */
  push(chunk: Buffer): string | undefined {
    const bytes = this.#tail ? Buffer.concat([this.#tail, chunk]) : chunk
    if (isUtf8(bytes)) {
      this.#tail = undefined
      return bytes.toString('utf8')
    }
    const cut = openCharacter(bytes)
    const whole = bytes.subarray(0, cut)
    if (cut === bytes.length || !isUtf8(whole)) return undefined
    // A copy: a slice would keep the socket's whole read alive for three bytes.
    this.#tail = Buffer.from(bytes.subarray(cut))
    return whole.toString('utf8')
  }

  /** Whether a character is still missing bytes. An answer that ends so was cut. */
  get open(): boolean {
    return this.#tail !== undefined
  }
}

/** Where an unfinished last character begins; the length when there is none. */
const openCharacter = (bytes: Buffer): number => {
  for (let at = bytes.length - 1; at >= 0 && at >= bytes.length - 3; at--) {
    const byte = bytes.readUInt8(at)
    if (byte >= 0x80 && byte < 0xc0) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return at + length > bytes.length ? at : bytes.length
  }
  return bytes.length
}
