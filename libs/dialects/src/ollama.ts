import type { BrokerError } from '@drover/core'
import type { Answer, Dialect } from './dialect.ts'
import { JSON_TYPE, NDJSON_TYPE } from './engine-side.ts'
import { embedNotFound, embedSchema, legacyEmbeddingsSchema, parseEmbed, parseLegacyEmbeddings } from './embeddings-request.ts'
import { chatSchema, generateSchema, parseChat, parseGenerate } from './ollama-request.ts'
import { PATHS } from './route.ts'

/** Clients recognise an overloaded Ollama by this text. */
const BUSY = 'server busy, please try again.  maximum pending requests exceeded'

/** The text of an error as Ollama's clients know it. */
export const nativeText = ({ code, message }: BrokerError): string =>
  code === 'queue_full' && !message.includes('busy') ? BUSY : message

const refuse = (error: BrokerError): Answer => ({
  status: error.status,
  contentType: JSON_TYPE,
  body: error.body ?? JSON.stringify({ error: nativeText(error) }),
})

const common = {
  streamType: NDJSON_TYPE,
  bodyType: JSON_TYPE,
  refuse,
  errorEvent: (error: BrokerError) => `${JSON.stringify({ error: nativeText(error) })}\n`,
}

/** A blank line breaks NDJSON clients; a chunk without text is what Ollama itself sends at times. */
const keepAlive =
  (said: object) =>
  ({ model, createdAt }: { model: string; createdAt: number }) =>
    `${JSON.stringify({ model, created_at: new Date(createdAt).toISOString(), ...said, done: false })}\n`

/** Ollama's `POST /api/chat`. */
export const ollamaChat: Dialect = {
  ...common,
  id: 'ollama.chat',
  path: PATHS['ollama.chat'],
  schema: chatSchema,
  parse: parseChat,
  keepAlive: keepAlive({ message: { role: 'assistant', content: '' } }),
}

/** Ollama's `POST /api/generate`. */
export const ollamaGenerate: Dialect = {
  ...common,
  id: 'ollama.generate',
  path: PATHS['ollama.generate'],
  schema: generateSchema,
  parse: parseGenerate,
  keepAlive: keepAlive({ response: '' }),
}

/** Never sent: the answer is one body. */
const noKeepAlive = () => ''

/** Ollama's `POST /api/embed`. */
export const ollamaEmbed: Dialect = {
  ...common,
  id: 'ollama.embed',
  path: '/api/embed',
  schema: embedSchema,
  parse: parseEmbed,
  notFound: embedNotFound,
  keepAlive: noKeepAlive,
}

/** Ollama's older `POST /api/embeddings`: one text, one vector. */
export const ollamaEmbeddings: Dialect = {
  ...common,
  id: 'ollama.embeddings',
  path: '/api/embeddings',
  schema: legacyEmbeddingsSchema,
  parse: parseLegacyEmbeddings,
  notFound: embedNotFound,
  keepAlive: noKeepAlive,
}
