import { randomBytes } from 'node:crypto'

/** What Standard Webhooks puts before every secret. */
const PREFIX = 'whsec_'
const BYTES = 32
const [LEAST_BYTES, MOST_BYTES] = [24, 64]

export const newSecret = (): string => PREFIX + randomBytes(BYTES).toString('base64')

/** Whether a text is a secret that signatures can be made with: `whsec_` and 24 to 64 bytes in base64. */
export const isSecret = (text: string): boolean => {
  if (!text.startsWith(PREFIX)) return false
  const encoded = text.slice(PREFIX.length)
  const bytes = Buffer.from(encoded, 'base64')
  return bytes.toString('base64') === encoded && bytes.length >= LEAST_BYTES && bytes.length <= MOST_BYTES
}
