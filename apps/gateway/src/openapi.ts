import type { DialectId } from '@drover/core'
import { dialects, type Dialect } from '@drover/dialects'
import { answerSchemas } from './answer-schemas.ts'
import { batchEntries } from './batches/openapi.ts'
import { fileEntries } from './files/openapi.ts'
import { ACCEPTED } from './jobs/openapi.ts'
import { keyEntries } from './keys/openapi.ts'
import { ALWAYS, CODES, ERROR_SCHEMAS, errorResponses, HEADERS, headers, ref, REQUEST_ID, WISHES, type Json, type OpenApi, type Operation } from './openapi-parts.ts'
import { ownRoutes } from './own-routes.ts'

const SUMMARIES: Record<DialectId, { tag: string; name: string; summary: string }> = {
  'ollama.chat': { tag: 'Ollama', name: 'OllamaChat', summary: 'The next message of a conversation' },
  'ollama.generate': { tag: 'Ollama', name: 'OllamaGenerate', summary: 'The text behind a prompt' },
  'ollama.embed': { tag: 'Ollama', name: 'OllamaEmbed', summary: 'Embeddings of texts' },
  'ollama.embeddings': { tag: 'Ollama', name: 'OllamaEmbeddings', summary: 'The embedding of one text, in the older form' },
  'openai.chat': { tag: 'OpenAI', name: 'ChatCompletion', summary: 'The next message of a conversation' },
  'openai.completions': { tag: 'OpenAI', name: 'Completion', summary: 'The text behind a prompt' },
  'openai.embeddings': { tag: 'OpenAI', name: 'Embeddings', summary: 'Embeddings of texts' },
  'openai.responses': { tag: 'OpenAI', name: 'Response', summary: 'A response, also one that is stored, or made in the background' },
  'anthropic.messages': { tag: 'Anthropic', name: 'Messages', summary: 'The next message of a conversation' },
  'anthropic.count_tokens': { tag: 'Anthropic', name: 'CountTokens', summary: 'How many tokens a conversation has' },
  'llama.rerank': { tag: 'llama.cpp', name: 'Rerank', summary: 'Documents in the order of what they have to do with a query' },
  'llama.tokenize': { tag: 'llama.cpp', name: 'Tokenize', summary: 'The tokens of a text' },
  'llama.detokenize': { tag: 'llama.cpp', name: 'Detokenize', summary: 'The text of tokens' },
}

const BY_ENGINE: Partial<Record<NonNullable<Dialect['engine']>, string>> = { 'llama-server': 'Answered by llama.cpp nodes only.' }

const streams = ({ schema }: Dialect): boolean => 'stream' in (schema['properties'] as Json)

/** Every path is an operation of its own. */
const idOf = ({ id, path: first }: Dialect, path: string): string => (path === first ? id : id + path.replaceAll('/', '.'))

const inference = (dialect: Dialect, path: string): Operation => {
  const { tag, name, summary } = SUMMARIES[dialect.id]
  const streamed = streams(dialect)
  return {
    tags: [tag],
    summary,
    operationId: idOf(dialect, path),
    ...(dialect.engine && { description: BY_ENGINE[dialect.engine] ?? `Answered by ${dialect.engine} nodes only.` }),
    parameters: ['x-request-id', ...Object.keys(WISHES)].map((name) => ref('parameters', name)),
    requestBody: { required: true, content: { 'application/json': { schema: ref('schemas', `${name}Request`) } } },
    responses: {
      '200': {
        description: streamed
          ? `One JSON body, or where \`stream\` says so a stream of events. A stream that fails after its beginning ends with an error in the form of this API, never with its end event.`
          : 'One JSON body.',
        headers: { ...ALWAYS, ...headers('x-drover-job', 'x-drover-model', 'x-drover-node', 'x-drover-attempts', 'x-drover-resumed', 'x-drover-ignored', 'idempotent-replayed') },
        content: {
          'application/json': { schema: ref('schemas', `${name}Answer`) },
          ...(streamed && { [dialect.streamType]: { schema: ref('schemas', `${name}Event`) } }),
        },
      },
      '202': ACCEPTED,
      ...errorResponses(dialect, CODES),
    },
  }
}

const inferenceSchemas = (dialect: Dialect): Record<string, Json> => {
  const { name } = SUMMARIES[dialect.id]
  const { body, event } = answerSchemas[dialect.id]
  const lines = dialect.streamType === 'application/x-ndjson' ? 'One line of the stream.' : 'The data of one event of the stream.'
  return {
    [`${name}Request`]: dialect.schema,
    [`${name}Answer`]: body,
    ...(event && streams(dialect) && { [`${name}Event`]: { ...event, description: lines } }),
  }
}

const TAGS = [
  { name: 'Ollama', description: "Ollama's own API." },
  { name: 'OpenAI', description: "OpenAI's API." },
  { name: 'Anthropic', description: "Anthropic's API." },
  { name: 'llama.cpp', description: "What only llama.cpp's server offers." },
  { name: 'Drover', description: 'What only Drover has: how it is, and this description.' },
]

/** Everything that the gateway answers, in OpenAPI 3.1: the schemas are those by which requests are checked. */
export const openApi = (version: string): OpenApi => {
  const all = Object.values(dialects)
  return {
    openapi: '3.1.0',
    info: {
      title: 'Drover',
      version,
      summary: 'A job broker for language-model inference.',
      description:
        'Every route of the gateway. A field that a route does not know is dropped and named in `x-drover-ignored`; `null` counts as absent. ' +
        'On the routes of Ollama names of fields may be in upper or lower case. The content type of a request is not looked at: a body is JSON.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    tags: TAGS,
    security: [{ key: [] }, { apiKey: [] }],
    paths: {
      ...ownRoutes(),
      ...fileEntries(),
      ...keyEntries(),
      ...batchEntries(),
      ...Object.fromEntries(all.flatMap((dialect) => [dialect.path, ...(dialect.aliases ?? [])].map((path) => [path, { post: inference(dialect, path) }]))),
    },
    components: {
      schemas: {
        ...ERROR_SCHEMAS,
        ...Object.assign({}, ...all.map(inferenceSchemas)),
      },
      headers: HEADERS,
      parameters: { 'x-request-id': REQUEST_ID, ...WISHES },
      securitySchemes: {
        key: { type: 'http', scheme: 'bearer', description: 'A key, where this installation has any.' },
        apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: "The same key, as Anthropic's clients send it." },
      },
    },
  }
}
