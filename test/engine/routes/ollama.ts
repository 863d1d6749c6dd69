import type { IncomingMessage, ServerResponse } from 'node:http'
import { JSON_TYPE, send, sendJson } from '../answer.ts'
import type { EngineContext } from '../context.ts'
import { timestamp } from '../formats/format.ts'
import { ollamaMessages } from '../formats/messages.ts'
import { ollamaChat, ollamaGenerate, ollamaLoaded } from '../formats/ollama.ts'
import { ollamaOpenaiChat, ollamaOpenaiText } from '../formats/openai.ts'
import { infer } from '../inference.ts'
import type { Model } from '../options.ts'
import { promptTokens, readMessages, render, wantedOfChat, wantedOfRaw } from '../prompt.ts'
import { ollamaEmbedding, type EmbeddingRequest } from './embeddings.ts'
import { includesUsage, keepMsOf, limitOf, loadOptionsOf, parseObject, stopsOf, type Fields } from './fields.ts'
import { messagesAsk, messagesError, messagesIn } from './messages.ts'
import { openaiModel, ps, shown, tags } from './ollama-views.ts'

const nativeError = (response: ServerResponse) => (status: number, message = 'scripted failure') =>
  sendJson(response, { error: message }, status)

const openaiError = (response: ServerResponse) => (status: number, message = 'scripted failure') => {
  const type = status === 400 ? 'invalid_request_error' : status === 404 ? 'not_found_error' : 'api_error'
  sendJson(response, { error: { message, type, param: null, code: null } }, status)
}

type Post = (context: EngineContext, request: IncomingMessage, response: ServerResponse, text: string) => void

/** What every POST of this engine begins with: a JSON object that names a model which is here. */
const withModel = (
  refuse: (status: number, message: string) => void,
  { residency }: EngineContext,
  text: string,
  then: (fields: Fields, model: Model, asked: string) => void,
  unnamed: readonly [number, string] = [400, 'model is required'],
) => {
  const fields = text === '' ? 'missing request body' : parseObject(text)
  if (typeof fields === 'string') return refuse(400, fields)
  const asked = fields['model'] ?? fields['name'] ?? ''
  if (typeof asked !== 'string') return refuse(400, 'json: cannot unmarshal number into Go struct field .model of type string')
  if (asked === '') return refuse(...unnamed)
  const model = residency.find(asked)
  if (!model) return refuse(404, `model '${asked}' not found`)
  then(fields, model, asked)
}

/** Loads or unloads a model, which is what a request without a prompt means. */
const loadOnly = (
  { residency }: EngineContext,
  response: ServerResponse,
  { name }: Model,
  { asked, chat, keepMs, options }: { asked: string; chat: boolean; keepMs: number | undefined; options: string },
) => {
  const answer = (reason: 'load' | 'unload') => send(response, 200, JSON_TYPE, ollamaLoaded(asked, chat, reason))
  if (keepMs === 0) {
    residency.unload(name)
    return answer('unload')
  }
  const waiter = {
    gone: false,
    options,
    granted() {
      residency.release(name, keepMs)
      answer('load')
    },
    refused: () => nativeError(response)(503, 'server busy, please try again.  maximum pending requests exceeded'),
  }
  residency.acquire(name, waiter)
}

const chat: Post = (context, request, response, text) => {
  const refuse = nativeError(response)
  withModel(refuse, context, text, (fields, model, asked) => {
    const messages = readMessages(fields['messages'])
    const keepMs = keepMsOf(fields['keep_alive'])
    const options = (fields['options'] ?? {}) as Fields
    const keep = keepMs === undefined ? {} : { keepMs }
    if (messages.length === 0) return loadOnly(context, response, model, { asked, chat: true, keepMs, options: loadOptionsOf(options) })
    const rendered = render(messages, model.continues)
    if (fields['_debug_render_only'] === true && context.settings.renders) {
      const message = { role: '', content: '' }
      const debug = { _debug_info: { rendered_template: rendered } }
      return sendJson(response, { model: asked, created_at: timestamp(), message, done: false, ...debug })
    }
    infer(context, request, response, text, {
      model, refuse, ...keep, options: loadOptionsOf(options), deaf: false, wanted: wantedOfChat(messages, model.continues), promptTokens: promptTokens(rendered),
      limit: limitOf(options['num_predict']), stops: stopsOf(options['stop']), stream: fields['stream'] !== false,
      format: ollamaChat(asked),
    })
  })
}

const generate: Post = (context, request, response, text) => {
  const refuse = nativeError(response)
  withModel(refuse, context, text, (fields, model, asked) => {
    const prompt = typeof fields['prompt'] === 'string' ? fields['prompt'] : ''
    const raw = fields['raw'] === true
    const keepMs = keepMsOf(fields['keep_alive'])
    const options = (fields['options'] ?? {}) as Fields
    const keep = keepMs === undefined ? {} : { keepMs }
    if (prompt === '') return loadOnly(context, response, model, { asked, chat: false, keepMs, options: loadOptionsOf(options) })
    const messages = [{ role: 'user', content: prompt }]
    const rendered = raw ? prompt : render(messages, model.continues)
    if (fields['_debug_render_only'] === true && context.settings.renders) {
      const debug = { _debug_info: { rendered_template: rendered } }
      return sendJson(response, { model: asked, created_at: timestamp(), response: '', done: false, ...debug })
    }
    infer(context, request, response, text, {
      model, refuse, ...keep, options: loadOptionsOf(options), deaf: false, wanted: raw ? wantedOfRaw(prompt) : wantedOfChat(messages, false),
      promptTokens: promptTokens(rendered), limit: limitOf(options['num_predict']), stops: stopsOf(options['stop']),
      stream: fields['stream'] !== false, format: ollamaGenerate(asked, raw),
    })
  }, [404, `model '' not found`])
}

const messages: Post = (context, request, response, text) => {
  const refuse = messagesError(response)
  const [, major, minor] = /^(\d+)\.(\d+)\./.exec(context.settings.version) ?? []
  if (Number(major) === 0 && Number(minor) < 14) return send(response, 404, 'text/plain', '404 page not found')
  withModel(refuse, context, text, (fields, model, asked) => {
    if (limitOf(fields['max_tokens']) === Infinity) return refuse(400, 'max_tokens is required and must be positive')
    if (messagesIn(fields).length === 0) return refuse(400, 'messages is required')
    infer(context, request, response, text, { ...messagesAsk(fields, model, () => ollamaMessages(asked)), refuse, deaf: false })
  })
}

const openai = (kind: 'chat' | 'text'): Post => (context, request, response, text) => {
  const refuse = openaiError(response)
  withModel(refuse, context, text, (fields, model, asked) => {
    if (kind === 'text' && Array.isArray(fields['prompt']))
      return refuse(400, 'json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string')
    const prompt = { role: 'user', content: String(fields['prompt'] ?? '') }
    const messages = kind === 'chat' ? readMessages(fields['messages']) : [prompt]
    if (messages.length === 0) return refuse(400, "[] is too short - 'messages'")
    const format = kind === 'chat' ? ollamaOpenaiChat : ollamaOpenaiText
    infer(context, request, response, text, {
      model, refuse, deaf: false, wanted: wantedOfChat(messages, model.continues),
      promptTokens: promptTokens(render(messages, model.continues)),
      limit: limitOf(fields['max_tokens']), stops: stopsOf(fields['stop']), stream: fields['stream'] === true,
      format: format(asked, includesUsage(fields)),
    })
  })
}

/** The routes for embeddings have words of their own for a model that is not there. */
const embedding = (
  route: (each: EmbeddingRequest) => void,
  errorOf: (response: ServerResponse) => (status: number, message?: string) => void,
  unnamed?: readonly [number, string],
): Post => (context, request, response, text) => {
  const refuse = (status: number, message?: string) =>
    errorOf(response)(status, message?.replace(/^model '(.+)' not found$/, 'model "$1" not found, try pulling it first'))
  const run = (fields: Fields, model: Model, asked: string) => route({ context, request, response, text, fields, model, asked, refuse })
  withModel(refuse, context, text, run, unnamed)
}

const gets: Record<string, (context: EngineContext, response: ServerResponse) => void> = {
  '/': (_, response) => send(response, 200, 'text/plain; charset=utf-8', 'Ollama is running'),
  '/api/version': ({ settings }, response) => sendJson(response, { version: settings.version }),
  '/api/tags': (context, response) => sendJson(response, tags(context)),
  '/api/ps': (context, response) => sendJson(response, ps(context)),
  '/v1/models': ({ residency }, response) => sendJson(response, { object: 'list', data: residency.models.map(openaiModel) }),
}
const headable = new Set(['/', '/api/version', '/api/tags'])

const posts: Record<string, Post> = {
  '/api/show': (context, _, response, text) =>
    withModel(nativeError(response), context, text, (_fields, model) => sendJson(response, shown(model))),
  '/api/chat': chat,
  '/api/generate': generate,
  '/api/embed': embedding(ollamaEmbedding.embed, nativeError, [404, "model '' not found"]),
  '/api/embeddings': embedding(ollamaEmbedding.legacy, nativeError),
  '/v1/embeddings': embedding(ollamaEmbedding.openai, openaiError),
  '/v1/chat/completions': openai('chat'),
  '/v1/messages': messages,
  '/v1/completions': openai('text'),
}

/** Ollama's routes. */
export const ollamaRoutes = {
  get(context: EngineContext, path: string, method: string, response: ServerResponse) {
    const route = gets[path]
    if (route && (method === 'GET' || (method === 'HEAD' && headable.has(path)))) return route(context, response)
    if (method === 'GET' && path.startsWith('/v1/models/')) {
      const asked = decodeURIComponent(path.slice('/v1/models/'.length))
      const model = context.residency.find(asked)
      return model ? sendJson(response, openaiModel(model)) : openaiError(response)(404, `model '${asked}' not found`)
    }
    if (!route && !posts[path]) return send(response, 404, 'text/plain', '404 page not found')
    response.setHeader('allow', posts[path] ? 'POST' : headable.has(path) ? 'GET, HEAD' : 'GET')
    send(response, 405, 'text/plain', '405 method not allowed')
  },
  post: (path: string): Post | undefined => posts[path],
}
