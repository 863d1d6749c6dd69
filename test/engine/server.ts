import { appendFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { engineAdmin, type EngineAdmin } from './admin.ts'
import { readBody, sendJson } from './answer.ts'
import type { EngineContext } from './context.ts'
import { Library } from './library.ts'
import { toSettings, type ScriptedEngineOptions } from './options.ts'
import { startPacer } from './pacer.ts'
import { Residency } from './residency.ts'
import { blobRoute } from './routes/blobs.ts'
import { command } from './routes/admin.ts'
import { llamaServerRoutes } from './routes/llama-server.ts'
import { ollamaRoutes } from './routes/ollama.ts'
import { holdKept, modelRoute } from './routes/ollama-models.ts'
import { Rules } from './rules.ts'
import { Stats } from './stats.ts'

export interface ScriptedEngine extends AsyncDisposable {
  url: string
  admin: EngineAdmin
  /** Ends it at once; streams are cut. */
  close(): Promise<void>
}

const HOUR = 3_600_000

const adminRoute = async (context: EngineContext, request: IncomingMessage, response: ServerResponse, url: URL) => {
  if (url.pathname === '/__engine/stats') {
    const management = Object.fromEntries(context.library.counts)
    return sendJson(response, { ...context.stats.snapshot(context.settings.kind, url.searchParams.get('key') ?? undefined), management })
  }
  try {
    command(context, JSON.parse(await readBody(request)))
    sendJson(response, {})
  } catch (error) {
    sendJson(response, { error: error instanceof Error ? error.message : String(error) }, 400)
  }
}

const route = async (context: EngineContext, request: IncomingMessage, response: ServerResponse) => {
  const { method = 'GET', url: target = '/' } = request
  if (target.startsWith('/__engine')) return adminRoute(context, request, response, new URL(target, 'http://engine'))
  const query = target.indexOf('?')
  const path = query < 0 ? target : target.slice(0, query)
  const llama = context.settings.kind === 'llama-server'
  if (llama) {
    response.sendDate = false
    response.setHeader('server', 'llama.cpp')
    if (llamaServerRoutes.loading(context, response)) return
  }
  const routes = llama ? llamaServerRoutes : ollamaRoutes
  if (!llama && path.startsWith('/api/blobs/')) return blobRoute(context, request, response, path.slice('/api/blobs/'.length))
  if (context.settings.store !== '' && path === '/api/tags') await holdKept(context)
  const post = (llama ? undefined : modelRoute(method, path)) ?? (method === 'POST' ? routes.post(path) : undefined)
  if (post) post(context, request, response, await readBody(request))
  else routes.get(context, path, method, response)
}

/**
 * An engine on the wire that does what its requests say: see `script.ts` for what they can say, `tokens.ts` for what it answers.
 * `onDie` replaces what happens when it is told to die: by default it closes its port and cuts every connection.
 */
export const startScriptedEngine = async (options: ScriptedEngineOptions = {}, onDie?: () => void): Promise<ScriptedEngine> => {
  const settings = toSettings(options)
  const { history } = settings
  const stats = new Stats(history?.name, history && ((line) => appendFileSync(history.path, `${JSON.stringify(line)}\n`)))
  const pacer = startPacer()
  const residency = new Residency(settings, stats)
  const sockets = new Set<Socket>()
  const context: EngineContext = {
    settings, stats, pacer, residency, rules: new Rules(settings.script), runs: new Set(), library: new Library(settings.library),
    die: onDie ?? (() => void close()),
  }
  const patience = { keepAliveTimeout: HOUR, requestTimeout: 0, headersTimeout: 0 }
  const server = createServer({ noDelay: true, ...patience }, (request, response) => {
    route(context, request, response).catch((error: unknown) => {
      if (response.headersSent || request.destroyed) response.socket?.destroy()
      else sendJson(response, { error: `the scripted engine has a defect: ${String(error)}` }, 500)
    })
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {}) // a client may reset at any moment; 'close' follows and is what counts
    socket.on('close', () => sockets.delete(socket))
  })
  const close = () => {
    pacer.close()
    residency.close()
    const { promise, resolve } = Promise.withResolvers<void>()
    server.close(() => resolve())
    for (const socket of sockets) socket.destroy()
    return promise
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port: settings.port, host: '127.0.0.1', backlog: 4096 }, resolve)
  })
  const [model] = settings.models
  if (settings.kind === 'llama-server' && model) residency.preload(model.name)
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the scripted engine has no port')
  const url = `http://127.0.0.1:${address.port}`
  return { url, admin: engineAdmin(url), close, [Symbol.asyncDispose]: close }
}
