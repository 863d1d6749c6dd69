import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { ExitError } from '@drover/service'
import { z } from 'zod'
import { jsonOf, reasonOf } from '../../gateway-client.ts'

const Line = z.object({ url: z.string().startsWith('/') })

/** The route that the lines of a file ask, as its first line says; the gateway checks that all say the same. @throws ExitError for a file that is none of lines */
export const endpointOf = async (path: string): Promise<string> => {
  const stream = createReadStream(path)
  try {
    for await (const text of createInterface({ input: stream })) {
      if (text.trim() === '') continue
      const line = Line.safeParse(jsonOf(text))
      if (line.success) return line.data.url
      break
    }
  } catch (error) {
    throw new ExitError(`${path} cannot be read (${reasonOf(error)})`)
  } finally {
    stream.destroy()
  }
  throw new ExitError(`${path} holds no requests: a line is {"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}`)
}
