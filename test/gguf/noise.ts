export type NumberType = 'f32' | 'f16'

/** Bits of the nearest half-precision number, for numbers within its range. */
export const halfBits = (value: number): number => {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const size = Math.abs(value)
  if (size === 0) return sign
  const exponent = Math.max(-14, Math.floor(Math.log2(size)))
  const steps = size / 2 ** (exponent - 10)
  const down = Math.floor(steps)
  const rounded = steps - down > 0.5 || (steps - down === 0.5 && down % 2 === 1) ? down + 1 : down
  // A subnormal has no hidden bit; a mantissa that rounds up to 2048 carries into the exponent by itself.
  return sign | (rounded + (exponent === -14 ? 0 : (exponent + 14) * 1024))
}

/** sfc32: small, quick, and the same on every machine. */
const generator = (seed: number): (() => number) => {
  let a = 0x9e3779b9 | 0
  let b = 0x243f6a88 | 0
  let c = seed | 0
  let counter = 1
  const next = () => {
    const sum = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + sum) | 0
    return sum >>> 0
  }
  for (let i = 0; i < 12; i++) next()
  return next
}

const POOL = 1 << 16

/** Seeded, nearly normal noise: slices of one pool at random places, so that a large file is written quickly. */
export class Noise {
  readonly bytesPerNumber: 2 | 4
  readonly #next: () => number
  readonly #pool: number[]
  readonly #scaled = new Map<number, Buffer>()

  constructor(seed: number, type: NumberType) {
    this.bytesPerNumber = type === 'f32' ? 4 : 2
    this.#next = generator(seed)
    // The sum of twelve even numbers is near enough to normal, and needs no function that machines compute differently.
    this.#pool = Array.from({ length: POOL }, () => {
      let sum = -6
      for (let i = 0; i < 12; i++) sum += this.#next() / 2 ** 32
      return sum
    })
  }

  /** Fills a row of noise; `first`, where given, is the row's first number. */
  row(target: Buffer, scale: number, first?: number) {
    const pool = this.#bytes(scale)
    let place = 0
    if (first !== undefined) place += this.#put(target, 0, first)
    while (place < target.length) place += pool.copy(target, place, (this.#next() % POOL) * this.bytesPerNumber)
  }

  #put(target: Buffer, place: number, value: number): number {
    if (this.bytesPerNumber === 4) target.writeFloatLE(value, place)
    else target.writeUInt16LE(halfBits(value), place)
    return this.bytesPerNumber
  }

  #bytes(scale: number): Buffer {
    let bytes = this.#scaled.get(scale)
    if (bytes) return bytes
    bytes = Buffer.alloc(POOL * this.bytesPerNumber)
    let place = 0
    for (const value of this.#pool) place += this.#put(bytes, place, value * scale)
    this.#scaled.set(scale, bytes)
    return bytes
  }
}
