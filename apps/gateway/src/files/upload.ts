import type { IncomingMessage } from 'node:http'
import { Busboy, type BusboyFileStream, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy'
import { BrokerError } from '@drover/core'
import { drop } from '../read-body.ts'

/** What a form says beside its file. */
export interface Uploaded<T> {
  fields: ReadonlyMap<string, string>
  /** As the client named it. */
  filename: string
  /** What `write` gave. */
  written: T
}

export interface UploadOptions<T> {
  /** Most bytes of the file. */
  limit: number
  /** Takes the file as it comes. */
  write(content: AsyncIterable<Uint8Array>): Promise<T>
}

const MOST_FIELDS = 32
const FIELD_BYTES = 1024

/**
 * A form with one file, which passes through on its way to `write` and is never held. Its other fields may come before or behind it.
 * @throws BrokerError `bad_request`, `body_too_large`; what `write` throws
 */
export const upload = async <T>(incoming: IncomingMessage, { limit, write }: UploadOptions<T>): Promise<Uploaded<T>> => {
  const type = incoming.headers['content-type']
  if (type === undefined || !/^multipart\/form-data\b/i.test(type)) throw new BrokerError('bad_request', 'a file is sent as multipart/form-data')
  const fields = new Map<string, string>()
  const form = formOf({ ...incoming.headers, 'content-type': type }, limit)
  let filename: string | undefined
  let file: BusboyFileStream | undefined
  let writing: Promise<T> | undefined
  form.on('field', (name, value) => void fields.set(name, value))
  const read = new Promise<void>((resolve, reject) => {
    form.on('file', (field, content, name) => {
      // It may fail more than once, also when nobody reads it any more.
      content.on('error', () => undefined)
      if (field !== 'file' || file) return void content.resume()
      file = content
      filename = name ?? ''
      writing = write(whole(content, limit))
      writing.catch((error: unknown) => reject(error instanceof BrokerError || !content.errored ? error : incoming.complete ? unreadable(error) : cutOff(error)))
    })
    form.once('finish', resolve)
    form.on('error', (error: unknown) => reject(incoming.complete ? unreadable(error) : cutOff(error)))
    incoming.once('close', () => incoming.complete || reject(cutOff()))
    incoming.pipe(form)
  })
  try {
    await read
  } catch (error) {
    incoming.unpipe(form)
    drop(incoming)
    // A file that is not whole ends with an error, too, and then is not kept.
    file?.destroy(error as Error)
    await writing?.catch(() => undefined)
    form.destroy()
    throw error
  }
  if (!writing || filename === undefined) throw new BrokerError('bad_request', "the form has no file in its field 'file'")
  return { fields, filename, written: await writing }
}

const cutOff = (cause?: unknown) => new BrokerError('bad_request', 'the request body was cut off', { cause })
const unreadable = (cause: unknown) => new BrokerError('bad_request', 'the form cannot be read', { cause })

const formOf = (headers: BusboyHeaders, limit: number): BusboyInstance => {
  try {
    return new Busboy({ headers, limits: { fileSize: limit, files: 2, fields: MOST_FIELDS, fieldSize: FIELD_BYTES, parts: MOST_FIELDS + 2, headerSize: 8192 } })
  } catch (error) {
    throw unreadable(error)
  }
}

/** @throws BrokerError behind the last byte of a file that was cut at its limit */
async function* whole(content: BusboyFileStream, limit: number): AsyncGenerator<Uint8Array> {
  yield* content as AsyncIterable<Uint8Array>
  if (content.truncated) throw new BrokerError('body_too_large', `the file is larger than ${limit} bytes`)
}
