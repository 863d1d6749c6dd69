/** Value types of GGUF metadata. */
const TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
const i32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
const f32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}
const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
const text = (value: string): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([u64(bytes.length), bytes])
}

const plain = { u32, f32, bool: (value: boolean) => Buffer.from([value ? 1 : 0]), string: text }
const items = { i32, f32, string: text }

/** One metadata entry. */
export const entry = {
  u32: (key: string, value: number) => Buffer.concat([text(key), u32(TYPE.u32), plain.u32(value)]),
  f32: (key: string, value: number) => Buffer.concat([text(key), u32(TYPE.f32), plain.f32(value)]),
  bool: (key: string, value: boolean) => Buffer.concat([text(key), u32(TYPE.bool), plain.bool(value)]),
  string: (key: string, value: string) => Buffer.concat([text(key), u32(TYPE.string), plain.string(value)]),
  strings: (key: string, values: string[]) =>
    Buffer.concat([text(key), u32(TYPE.array), u32(TYPE.string), u64(values.length), ...values.map(items.string)]),
  f32s: (key: string, values: number[]) =>
    Buffer.concat([text(key), u32(TYPE.array), u32(TYPE.f32), u64(values.length), ...values.map(items.f32)]),
  i32s: (key: string, values: number[]) =>
    Buffer.concat([text(key), u32(TYPE.array), u32(TYPE.i32), u64(values.length), ...values.map(items.i32)]),
}

export const ALIGNMENT = 32
export const aligned = (size: number): number => Math.ceil(size / ALIGNMENT) * ALIGNMENT

export interface TensorInfo {
  name: string
  /** Row length first. */
  shape: readonly number[]
  /** GGML's number: 0 is f32, 1 is f16. */
  type: number
  bytes: number
}

/** Everything before the tensors' data, padded so that the data begins aligned. */
export const header = (metadata: Buffer[], tensors: TensorInfo[]): Buffer => {
  let offset = 0
  const infos = tensors.map(({ name, shape, type, bytes }) => {
    const info = Buffer.concat([text(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset)])
    offset += aligned(bytes)
    return info
  })
  const head = Buffer.concat([Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(metadata.length), ...metadata, ...infos])
  return Buffer.concat([head, Buffer.alloc(aligned(head.length) - head.length)])
}
