import { BrokerError } from '@drover/core'
import { byPolicy } from './ask.ts'
import { isFilled, isObject, type JsonObject } from './delta.ts'
import type { Exchange, ExchangeRequest } from './dialect.ts'
import { protocol, usageOf } from './engine-event.ts'
import { wholeCall, withoutCall } from './whole-call.ts'

const FLOAT_BYTES = 4

/** llama-server answers 500 to what does not fit a batch, and names its own settings; on another attempt it would do the same. */
const TOO_LONG = /too large to process|exceeds? the (available )?context|larger than the max context/

/** Without normalising, in the words of llama-server's `/v1/embeddings`. */
const AS_IT_IS = -1

type Vector = number[]

const isVector = (value: unknown): value is Vector => Array.isArray(value) && value.every((one) => typeof one === 'number')

const vector = (value: unknown): Vector => {
  if (!isVector(value)) throw protocol('the engine sent an embedding that is not a list of numbers')
  return value
}

/** Little-endian float32, as OpenAI's clients read it. */
const toBase64 = (values: Vector): string => {
  const bytes = Buffer.alloc(values.length * FLOAT_BYTES)
  for (const [i, value] of values.entries()) bytes.writeFloatLE(value, i * FLOAT_BYTES)
  return bytes.toString('base64')
}

const fromBase64 = (text: string): Vector => {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.length % FLOAT_BYTES !== 0) throw protocol('the engine sent an embedding that is not base64 of float32')
  return Array.from({ length: bytes.length / FLOAT_BYTES }, (_, i) => bytes.readFloatLE(i * FLOAT_BYTES))
}

const wantedDimensions = ({ dimensions }: JsonObject): number => (typeof dimensions === 'number' ? dimensions : 0)

/** The first numbers of a vector, brought to length 1 again, as Ollama shortens one; 0 or more than there are: all of it. */
const shortened = (values: Vector, size: number): Vector => {
  if (size === 0 || size >= values.length) return values
  const cut = values.slice(0, size)
  const length = Math.hypot(...cut)
  return length > 0 ? cut.map((value) => value / length) : cut
}

/** How many vectors a request asks for. One list of tokens is one input. */
const countOf = (input: unknown): number => (Array.isArray(input) ? (typeof input[0] === 'number' ? 1 : input.length) : input ? 1 : 0)

const complete = <T>(vectors: T[], count: number): T[] => {
  if (vectors.length !== count) throw protocol(`the engine sent ${vectors.length} embeddings for ${count} inputs`)
  return vectors
}

/** The embeddings of an OpenAI answer by their index. */
const ofData = ({ data }: JsonObject, count: number): unknown[] => {
  const found: unknown[] = []
  for (const one of Array.isArray(data) ? (data as unknown[]) : []) {
    const index = isObject(one) ? one['index'] : undefined
    if (!isObject(one) || typeof index !== 'number' || !(index < count) || index in found)
      throw protocol('the engine sent an embedding that cannot be placed')
    found[index] = one['embedding']
  }
  return complete(found.filter(() => true), count)
}

const openAiUsage = ({ usage }: JsonObject) => usageOf(isObject(usage) ? usage['prompt_tokens'] : 0, 0)

/** What an engine measured, where it did. */
const measured = (values: JsonObject): JsonObject => Object.fromEntries(Object.entries(values).filter(([, value]) => typeof value === 'number'))

const refusing = ({ dialect }: ExchangeRequest): BrokerError => new BrokerError('engine_refused', `this engine cannot answer ${dialect} requests`, { status: 400 })

/** An input that is too long, as the client's mistake; `message` where its API has words of its own for it. */
const tooLong =
  (message?: string) =>
  (refusal: BrokerError): BrokerError =>
    TOO_LONG.test(refusal.message) ? new BrokerError('engine_refused', message ?? refusal.message, { status: 400 }) : refusal

const INPUT_TOO_LONG = 'the input length exceeds the context length'

/** Texts as native requests have them, asked of a llama-server. */
const askLlama = (request: ExchangeRequest, input: unknown, more: JsonObject = {}) => ({
  path: '/v1/embeddings',
  body: { model: request.engine.model, input, encoding_format: 'float', ...more },
  usage: openAiUsage,
  sameErrors: false,
})

/** `POST /api/embed`. */
export const embedExchange = (request: ExchangeRequest): Exchange => {
  const { asked, body, engine } = request
  const count = countOf(body['input'])
  if (engine.speaks.includes('ollama.embed'))
    return wholeCall({
      path: '/api/embed',
      body: byPolicy(request),
      show: ({ embeddings, total_duration, load_duration, prompt_eval_count }) => ({
        model: asked,
        embeddings: complete((isFilled(embeddings) ? embeddings : []).map(vector), count),
        ...measured({ total_duration, load_duration, prompt_eval_count }),
      }),
      usage: ({ prompt_eval_count: tokens }) => usageOf(tokens, 0),
      sameErrors: true,
    })
  if (!engine.speaks.includes('openai.embeddings')) throw refusing(request)
  // Such an engine has its one model in memory all the time.
  if (count === 0) return withoutCall(JSON.stringify({ model: asked, embeddings: [] }))
  const size = wantedDimensions(body)
  return wholeCall({
    ...askLlama(request, body['input']),
    show: (answer) => ({
      model: asked,
      embeddings: ofData(answer, count).map((one) => shortened(vector(one), size)),
      prompt_eval_count: openAiUsage(answer).promptTokens,
    }),
    correct: tooLong(body['truncate'] === false ? INPUT_TOO_LONG : `${INPUT_TOO_LONG}, and this engine cannot cut it`),
  })
}

/** `POST /api/embeddings`: one text, one vector, as long as the model made it. */
export const legacyEmbeddingsExchange = (request: ExchangeRequest): Exchange => {
  const { body, engine } = request
  if (engine.speaks.includes('ollama.embeddings'))
    return wholeCall({
      path: '/api/embeddings',
      body: byPolicy(request),
      show: ({ embedding }) => ({ embedding: vector(embedding) }),
      sameErrors: true,
    })
  if (!engine.speaks.includes('openai.embeddings')) throw refusing(request)
  const prompt = body['prompt'] ?? ''
  if (prompt === '') return withoutCall('{"embedding":[]}')
  return wholeCall({
    ...askLlama(request, prompt, { embd_normalize: AS_IT_IS }),
    show: (answer) => ({ embedding: vector(ofData(answer, 1)[0]) }),
    correct: tooLong(`${INPUT_TOO_LONG}, and this engine cannot cut it`),
  })
}

/** `POST /v1/embeddings`. */
export const openAiEmbeddingsExchange = (request: ExchangeRequest): Exchange => {
  const { asked, body, engine } = request
  if (!engine.speaks.includes('openai.embeddings')) throw refusing(request)
  const { input, encoding_format: format = 'float' } = body
  // Unlike the native API's, an empty text is an input.
  const count = typeof input === 'string' ? 1 : countOf(input)
  // llama-server leaves vectors as long as they are.
  const size = engine.kind === 'llama-server' ? wantedDimensions(body) : 0
  const written = (value: unknown): string | Vector => {
    if (size === 0 && format === 'base64' && typeof value === 'string') return value
    const values = shortened(typeof value === 'string' ? fromBase64(value) : vector(value), size)
    return format === 'base64' ? toBase64(values) : values
  }
  return wholeCall({
    path: '/v1/embeddings',
    body: { ...body, model: engine.model, ...(size > 0 ? { encoding_format: 'float' } : {}) },
    show: (answer) => {
      const { promptTokens: tokens } = openAiUsage(answer)
      return {
        object: 'list',
        data: ofData(answer, count).map((one, index) => ({ object: 'embedding', embedding: written(one), index })),
        model: asked,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      }
    },
    usage: openAiUsage,
    sameErrors: true,
    correct: tooLong(),
  })
}
