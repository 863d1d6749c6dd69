import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { S3Failure } from './s3-failure.ts'
import type { S3Location } from './s3-location.ts'

export interface S3Settings extends S3Location {
  /** Absent: AWS' own of the region. */
  endpoint: string | undefined
  region: string | undefined
  /** The bucket stands in the path, and not before the host's name. */
  pathStyle: boolean
}

/** The objects of one bucket below one prefix, each no larger than fits into memory. What goes wrong is an `S3Failure`. */
export interface Objects {
  put(name: string, bytes: Uint8Array, how?: { onlyNew: boolean }): Promise<void>
  /** Bytes from `from` to before `to`; fewer where the object has no more. */
  get(name: string, from: number, to: number): Promise<Buffer>
  /** Also where there is none. */
  delete(name: string): Promise<void>
}

/** A connection must be there within this, ms. */
const CONNECT_MS = 3_000
/** A store that says nothing for so long is taken for dead, ms. */
const SILENT_MS = 15_000
/** Longest that one request may take, ms. */
const LONGEST_MS = 120_000
/** What failed and may do better is tried so often in all. */
const TRIES = 3

const within = () => ({ abortSignal: AbortSignal.timeout(LONGEST_MS) })
const failed = (error: unknown): never => {
  throw new S3Failure(error)
}

/** By whatever credentials AWS' own programs would use: from the environment, its files, the machine or container. */
export const s3Objects = ({ bucket, prefix, endpoint, region, pathStyle }: S3Settings): Objects => {
  const client = new S3Client({
    ...(endpoint !== undefined && { endpoint }),
    ...(region === undefined ? endpoint !== undefined && { region: 'us-east-1' } : { region }),
    forcePathStyle: pathStyle,
    maxAttempts: TRIES,
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: SILENT_MS },
    // Every body is at hand and signed with its SHA-256, which any store checks; checksums in trailers many do not know.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
  const at = (name: string) => ({ Bucket: bucket, Key: `${prefix}${name}` })

  const getOnce = async (name: string, from: number, to: number): Promise<Buffer | undefined> => {
    const { Body, ContentRange } = await client.send(new GetObjectCommand({ ...at(name), Range: `bytes=${from}-${to - 1}` }), within()).catch(failed)
    // The client sees to it that an answer begins; of one that breaks off it knows nothing.
    const bytes = await Body?.transformToByteArray().catch(() => undefined)
    if (!bytes) return undefined
    const its = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    // A store may give all of an object to who asks for a part.
    return ContentRange === undefined ? its.subarray(from, to) : its.subarray(0, to - from)
  }

  return {
    async put(name, bytes, { onlyNew } = { onlyNew: false }) {
      await client.send(new PutObjectCommand({ ...at(name), Body: bytes, ...(onlyNew && { IfNoneMatch: '*' }) }), within()).catch(failed)
    },
    async get(name, from, to) {
      for (let tries = 1; tries <= TRIES; tries += 1) {
        const bytes = await getOnce(name, from, to)
        if (bytes) return bytes
      }
      throw new S3Failure(new Error('the answer broke off'))
    },
    async delete(name) {
      await client.send(new DeleteObjectCommand(at(name)), within()).catch(failed)
    },
  }
}
