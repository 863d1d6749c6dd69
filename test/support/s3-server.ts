import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { DeleteObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { freePort, startProgram, type Program } from './program.ts'

export interface S3Server {
  /** Where it is reached, the same after a restart. */
  endpoint: string
  port: number
  /** How a gateway comes to keep its files below this prefix; `through`: by another way to the server. */
  env(prefix: string, through?: string): Record<string, string>
  /** Names of the objects below a prefix, without it. */
  names(prefix: string): Promise<string[]>
  delete(prefix: string, name: string): Promise<void>
  put(prefix: string, name: string, bytes: Buffer): Promise<void>
  /** SIGKILL; what it holds stays. */
  kill(): Promise<void>
  restart(): Promise<void>
  stop(): Promise<void>
}

const MAIN = fileURLToPath(new URL('s3-main.ts', import.meta.url))
const START_MS = 30_000
const BUCKET = 'drover-test'

const answers = async (port: number): Promise<boolean> => {
  const socket = connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(1_000) })
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/**
 * A server that speaks S3, checks signatures and keeps what it is given in a folder: of one's own, or the one that `DROVER_TEST_S3` names as
 * `http://KEY:SECRET@host:port/bucket`, which can be neither killed nor restarted.
 */
export const startS3 = async (folder: string): Promise<S3Server> => {
  const other = process.env['DROVER_TEST_S3']
  const url = new URL(other ?? `http://S3RVER:S3RVER@127.0.0.1:${await freePort()}/${BUCKET}`)
  const port = Number(url.port)
  const bucket = url.pathname.slice(1)
  const endpoint = `http://${url.host}`
  const credentials = { accessKeyId: url.username, secretAccessKey: url.password }
  const options: S3ClientConfig = { endpoint, region: 'us-east-1', forcePathStyle: true, requestChecksumCalculation: 'WHEN_REQUIRED', responseChecksumValidation: 'WHEN_REQUIRED', credentials }
  const client = new S3Client(options)
  // What concerns the bucket and no object it takes for wrongly signed, but not when it is not signed.
  const lister = other === undefined ? new S3Client({ ...options, signer: { sign: async (request) => request } }) : client

  const up = async (): Promise<Program | undefined> => {
    if (other !== undefined) return undefined
    const program = await startProgram(process.execPath, [MAIN, join(folder, 's3'), String(port), bucket])
    for (const end = Date.now() + START_MS; !(await answers(port)); await sleep(20)) {
      if (program.running() && Date.now() < end) continue
      program.signal('SIGKILL')
      throw new Error(`the S3 server does not come up: ${program.log()}`)
    }
    return program
  }
  let program = await up()
  const kill = async () => {
    program?.signal('SIGKILL')
    await program?.exited
  }
  return {
    endpoint,
    port,
    env: (prefix, through = endpoint) => ({
      DROVER_FILES_S3: `s3://${bucket}/${prefix}`,
      DROVER_FILES_S3_ENDPOINT: through,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      // Whatever lies in the home of who runs the tests.
      AWS_CONFIG_FILE: '/nonexistent',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
      AWS_EC2_METADATA_DISABLED: 'true',
    }),
    async names(prefix) {
      const found: string[] = []
      for (let token: string | undefined, more = true; more; more = token !== undefined) {
        const page = await lister.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: `${prefix}/`, ...(token !== undefined && { ContinuationToken: token }) }))
        found.push(...(page.Contents ?? []).map(({ Key = '' }) => Key.slice(prefix.length + 1)))
        token = page.NextContinuationToken
      }
      return found
    },
    async delete(prefix, name) {
      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: `${prefix}/${name}` }))
    },
    async put(prefix, name, bytes) {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/${name}`, Body: bytes }))
    },
    kill,
    async restart() {
      await kill()
      program = await up()
    },
    async stop() {
      await kill()
      client.destroy()
      lister.destroy()
    },
  }
}
