import { badRequest, described, type Check, type Schema } from './fields.ts'

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/
const DATA_URI = /^data:(image\/[a-z0-9.+-]{1,32})?;base64,/i

const isBase64 = (text: string) => text.length > 0 && text.length % 4 === 0 && BASE64.test(text)

/** First characters of base64 text by which image formats are known. */
const SIGNATURES: readonly (readonly [string, string])[] = [
  ['/9j/', 'jpeg'],
  ['iVBORw', 'png'],
  ['UklGR', 'webp'],
  ['R0lGOD', 'gif'],
]

/** Base64 image bytes as the data URI that OpenAI-style engines read. */
export const imageUri = (base64: string): string =>
  `data:image/${SIGNATURES.find(([start]) => base64.startsWith(start))?.[1] ?? 'png'};base64,${base64}`

/** The base64 text of a data URI that `imageUrl` let through. */
export const imageBytes = (uri: string): string => uri.slice(uri.indexOf(',') + 1)

/** The smallest PNG there is: one pixel. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII='

/** What `imageUrl` lets through. */
export const IMAGE_URL: Schema = {
  type: 'string',
  description: 'A data URI: `data:image/png;base64,…`. An address is refused: nothing is fetched for a client.',
  examples: [`data:image/png;base64,${PIXEL}`],
}

/** What `base64Audio` lets through. */
export const AUDIO: Schema = { type: 'string', contentEncoding: 'base64', examples: ['UklGRg=='] }

const IMAGE: Schema = {
  type: 'string',
  contentEncoding: 'base64',
  description: 'The image itself, without a prefix. An address is refused: nothing is fetched for a client.',
  examples: [PIXEL],
}

/** An image of the native API: base64 without a prefix. Anything else could make an engine open a file or an address. */
export const base64Image: Check = described(IMAGE, (value) => {
  if (typeof value !== 'string') throw badRequest('images must be base64 text')
  if (/^https?:/i.test(value)) throw badRequest('image URLs are not supported: send the image itself as base64 text')
  // Go's decoder passes over line breaks, so wrapped base64 is valid here.
  const bytes = /[\r\n]/.test(value) ? value.replaceAll(/[\r\n]/g, '') : value
  if (!isBase64(bytes)) throw badRequest('invalid image input: not base64')
  return bytes
})

/** The URL of an image part: a data URI and nothing that an engine would have to fetch. */
export const imageUrl = (url: string): string => {
  if (/^https?:/i.test(url)) throw badRequest('image URLs are not currently supported, please use base64 encoded data instead')
  const [prefix, type] = DATA_URI.exec(url.slice(0, 64)) ?? []
  if (prefix === undefined || !isBase64(url.slice(prefix.length))) throw badRequest('invalid image input')
  return type === undefined ? imageUri(url.slice(prefix.length)) : url
}

/** Audio bytes of an `input_audio` part. */
export const base64Audio = (data: unknown): string => {
  if (typeof data !== 'string') throw badRequest('invalid input_audio format: missing data')
  if (!isBase64(data)) throw badRequest('invalid input_audio base64 data')
  return data
}
