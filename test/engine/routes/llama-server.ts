import type { IncomingMessage, ServerResponse } from 'node:http'
import { send, sendJson } from '../answer.ts'
import type { EngineContext } from '../context.ts'
import { llamaChat, llamaCompletion, llamaText } from '../formats/llama-server.ts'
import { llamaMessages } from '../formats/messages.ts'
import { infer } from '../inference.ts'
import type { Model } from '../options.ts'
import { promptTokens, readMessages, render, wantedOfChat, wantedOfRaw } from '../prompt.ts'
import { llamaEmbedding } from './embeddings.ts'
import { includesUsage, limitOf, parseObject, stopsOf } from './fields.ts'
import { messagesAsk, messagesIn } from './messages.ts'

const TYPES: Record<number, string> = { 400: 'invalid_request_error', 404: 'not_found_error', 501: 'not_supported_error', 503: 'unavailable_error' }

const llamaError = (response: ServerResponse) => (status: number, message = 'scripted failure') =>
  sendJson(response, { error: { code: status, message, type: TYPES[status] ?? 'server_error' } }, status)

const notFound = (response: ServerResponse) =>
  sendJson(response, { error: { message: 'File Not Found', type: 'not_found_error', code: 404 } }, 404)

const models = (model: Model) => ({
  models: [{
    name: model.name, model: model.name, modified_at: '', size: '', digest: '', type: 'model', description: '', tags: [''],
    capabilities: ['completion'], parameters: '',
    details: { parent_model: '', format: 'gguf', family: '', families: [''], parameter_size: '', quantization_level: '' },
  }],
  object: 'list',
  data: [{
    id: model.name, aliases: [model.name], tags: [], object: 'model',
    architecture: { input_modalities: ['text'], output_modalities: ['text'] },
    created: Math.floor(Date.now() / 1000), owned_by: 'llamacpp',
    meta: {
      vocab_type: 1, n_vocab: 1024, n_ctx: model.contextLength, n_ctx_train: model.contextLength, n_embd: 4096,
      n_params: 8_030_261_248, size: model.size, ftype: model.quantization,
    },
  }],
})

const props = (model: Model) => ({
  default_generation_settings: { params: { seed: 4_294_967_295, temperature: 0.8 }, n_ctx: model.contextLength },
  total_slots: model.slots,
  model_alias: model.name,
  model_ftype: model.quantization,
  model_path: 'scripted.gguf',
  modalities: { vision: false, video: false, audio: false },
  endpoint_slots: true,
  endpoint_props: false,
  endpoint_metrics: true,
  chat_template: '',
  chat_template_caps: { supports_tools: true, supports_system_role: true },
  bos_token: '<s>',
  eos_token: '</s>',
  build_info: 'b11669-Debian',
  is_sleeping: false,
})

const slots = ({ runs }: EngineContext, model: Model) => {
  const busy = runs.size
  return Array.from({ length: model.slots }, (_, id) => ({
    id, n_ctx: model.contextLength, speculative: false, is_processing: id < busy,
  }))
}

const exposition = (metric: string, kind: string, help: string, value: number) =>
  `# HELP llamacpp:${metric} ${help}\n# TYPE llamacpp:${metric} ${kind}\nllamacpp:${metric} ${value}\n`

const metrics = ({ stats, runs }: EngineContext, { name }: Model): string => {
  const { waiting } = stats.model(name)
  return exposition('tokens_predicted_total', 'counter', 'Number of generation tokens processed', stats.all.tokens) +
    exposition('requests_processing', 'gauge', 'Number of requests processing', runs.size) +
    exposition('requests_deferred', 'gauge', 'Number of requests deferred', waiting)
}

type Post = (context: EngineContext, request: IncomingMessage, response: ServerResponse, text: string) => void

const twoAssistants = 'Cannot have 2 or more assistant messages at the end of the list.'

/** The one model of this server: a request's `model` is not looked at. */
const served = ({ residency }: EngineContext): Model => {
  const [model] = residency.models
  if (!model) throw new Error('a llama-server needs a model')
  return model
}

const chat: Post = (context, request, response, text) => {
  const refuse = llamaError(response)
  const fields = parseObject(text)
  if (typeof fields === 'string') return refuse(400, `parse error: ${fields}`)
  if (fields['messages'] === undefined) return refuse(400, "'messages' is required")
  const messages = readMessages(fields['messages'])
  if (messages.length > 1 && messages.slice(-2).every(({ role }) => role === 'assistant')) return refuse(400, twoAssistants)
  const model = served(context)
  const wanted = wantedOfChat(messages, model.continues)
  const last = messages.at(-1)
  const continued = model.continues && last?.role === 'assistant' ? last.content : ''
  infer(context, request, response, text, {
    model, refuse, deaf: true, keepMs: -1, wanted, promptTokens: promptTokens(render(messages, model.continues)),
    limit: limitOf(fields['max_completion_tokens'] ?? fields['max_tokens']), stops: stopsOf(fields['stop']),
    stream: fields['stream'] === true, format: llamaChat(model.name, includesUsage(fields), continued),
  })
}

const completion = (own: boolean): Post => (context, request, response, text) => {
  const refuse = llamaError(response)
  const fields = parseObject(text)
  if (typeof fields === 'string') return refuse(400, `parse error: ${fields}`)
  const { prompt } = fields
  if (typeof prompt !== 'string') return refuse(400, "'prompt' is required")
  const model = served(context)
  const tokens = promptTokens(prompt)
  infer(context, request, response, text, {
    model, refuse, deaf: true, keepMs: -1, wanted: wantedOfRaw(prompt), promptTokens: tokens,
    limit: limitOf(fields['n_predict'] ?? fields['max_tokens']), stops: stopsOf(fields['stop']), stream: fields['stream'] === true,
    format: own ? llamaCompletion(model.name, tokens) : llamaText(model.name),
  })
}

const NO_INFILL = 'Infill is not supported by this model: prefix token is missing. suffix token is missing. middle token is missing. '

const infill: Post = (context, request, response, text) => {
  const refuse = llamaError(response)
  const fields = parseObject(text)
  if (typeof fields === 'string') return refuse(400, `parse error: ${fields}`)
  const model = served(context)
  if (!model.capabilities.includes('insert')) return refuse(501, NO_INFILL)
  const { input_prefix: before, input_suffix: after } = fields
  if (typeof before !== 'string') return refuse(400, '"input_prefix" is required')
  if (typeof after !== 'string') return refuse(400, '"input_suffix" is required')
  const tokens = promptTokens(before + after)
  infer(context, request, response, text, {
    model, refuse, deaf: true, keepMs: -1, wanted: wantedOfRaw(before), promptTokens: tokens,
    limit: limitOf(fields['n_predict']), stops: stopsOf(fields['stop']), stream: fields['stream'] === true,
    format: llamaCompletion(model.name, tokens),
  })
}

const messages: Post = (context, request, response, text) => {
  const refuse = llamaError(response)
  const fields = parseObject(text)
  if (typeof fields === 'string') return refuse(400, `parse error: ${fields}`)
  if (fields['messages'] === undefined) return refuse(500, "'messages' is required")
  const model = served(context)
  const format = (tokens: number) => llamaMessages(model.name, tokens)
  infer(context, request, response, text, { ...messagesAsk(fields, model, format), refuse, deaf: true, keepMs: -1 })
}

const countTokens: Post = (context, request, response, text) => {
  context.stats.seen({ path: request.url ?? '', headers: request.headers, body: text })
  const fields = parseObject(text)
  if (typeof fields === 'string') return llamaError(response)(400, `parse error: ${fields}`)
  if (fields['messages'] === undefined) return llamaError(response)(500, "'messages' is required")
  sendJson(response, { input_tokens: promptTokens(render(messagesIn(fields), served(context).continues)) })
}

const template: Post = (context, _, response, text) => {
  if (!context.settings.renders) return notFound(response)
  const fields = parseObject(text)
  if (typeof fields === 'string') return llamaError(response)(400, `parse error: ${fields}`)
  sendJson(response, { prompt: render(readMessages(fields['messages']), served(context).continues) })
}

const posts: Record<string, Post> = {
  '/v1/chat/completions': chat,
  '/chat/completions': chat,
  '/v1/completions': completion(false),
  '/completion': completion(true),
  '/completions': completion(true),
  '/infill': infill,
  '/v1/messages': messages,
  '/v1/messages/count_tokens': countTokens,
  '/apply-template': template,
  ...llamaEmbedding(served, llamaError),
}

const gets: Record<string, (context: EngineContext, response: ServerResponse) => void> = {
  '/health': (_, response) => sendJson(response, { status: 'ok' }),
  '/v1/health': (_, response) => sendJson(response, { status: 'ok' }),
  '/v1/models': (context, response) => sendJson(response, models(served(context))),
  '/models': (context, response) => sendJson(response, models(served(context))),
  '/props': (context, response) => sendJson(response, props(served(context))),
  '/slots': (context, response) => sendJson(response, slots(context, served(context))),
  '/metrics': (context, response) => send(response, 200, 'text/plain; version=0.0.4', metrics(context, served(context))),
}

/** llama-server's routes. Every one answers 503 while the model loads. */
export const llamaServerRoutes = {
  get(context: EngineContext, path: string, method: string, response: ServerResponse) {
    const route = method === 'GET' ? gets[path] : undefined
    if (route) route(context, response)
    else notFound(response)
  },
  post: (path: string): Post | undefined => posts[path],
  loading(context: EngineContext, response: ServerResponse): boolean {
    if (context.residency.isLoaded(served(context).name)) return false
    sendJson(response, { error: { message: 'Loading model', type: 'unavailable_error', code: 503 } }, 503)
    return true
  },
}
