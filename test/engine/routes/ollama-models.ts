import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { sendJson } from '../answer.ts'
import type { EngineContext } from '../context.ts'
import { withTag, type Layer, type LibraryModel } from '../library.ts'
import { toModel } from '../options.ts'
import { parseObject, type Fields } from './fields.ts'

type Route = (context: EngineContext, response: ServerResponse, fields: Fields, request: IncomingMessage) => void | Promise<void>
interface Line {
  status?: string
  digest?: string
  total?: number
  completed?: number
  error?: string
}

/** How often a pull tells how far it is, ms. */
const TICK_MS = 50

const nameIn = (fields: Fields): string => String(fields['model'] ?? fields['name'] ?? '')

/** Writes lines, or keeps the last one for a client that wants only that. */
const teller = (response: ServerResponse, stream: boolean) => {
  let last: Line = {}
  return {
    tell(line: Line) {
      last = line
      if (!stream || response.destroyed) return
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      response.write(`${JSON.stringify(line)}\n`)
    },
    end() {
      if (stream) response.end()
      else sendJson(response, last.error === undefined ? last : { error: last.error }, last.error === undefined ? 200 : 500)
    },
  }
}

const hold = ({ residency, settings }: EngineContext, name: string, facts: { digest?: string; size?: number } = {}) => {
  const model = toModel({ name: withTag(name), ...facts }, settings)
  residency.setModels([...residency.models.filter((each) => each.name.toLowerCase() !== model.name.toLowerCase()), { ...model, modifiedAt: new Date().toISOString() }])
}

/** Brings what is missing of a layer. Answers `false` when the client has left meanwhile. */
const bring = async (layer: Layer, model: Required<LibraryModel>, from: number, { tell, gone }: { tell(line: Line): void; gone(): boolean }): Promise<boolean> => {
  const line = (): Line => ({ status: `pulling ${layer.digest.slice(7, 19)}`, digest: layer.digest, total: layer.size, ...(layer.completed > 0 && { completed: layer.completed }) })
  tell(line())
  while (layer.completed < layer.size) {
    if (model.rate > 0 || from + layer.completed >= model.stall_at) await sleep(TICK_MS)
    if (gone()) return false
    if (from + layer.completed >= model.stall_at) continue
    const step = model.rate === 0 ? layer.size : (model.rate * TICK_MS) / 1000
    layer.completed = Math.min(layer.size, layer.completed + Math.ceil(step), Math.max(layer.completed, model.stall_at - from))
    tell(line())
  }
  return true
}

const pull: Route = async (context, response, fields) => {
  const { library } = context
  const name = nameIn(fields)
  const stats = library.count(name)
  stats.pulls += 1
  stats.pulling += 1
  const out = teller(response, fields['stream'] !== false)
  let left = false
  response.once('close', () => (left = !response.writableFinished))
  library.open.add(response)
  const done = () => {
    stats.pulling -= 1
    library.open.delete(response)
  }
  out.tell({ status: 'pulling manifest' })
  const model = library.find(name)
  if (!model) {
    done()
    out.tell({ error: 'pull model manifest: file does not exist' })
    return out.end()
  }
  if (model.breaks) {
    await sleep(TICK_MS)
    done()
    response.destroy()
    return
  }
  let from = 0
  for (const layer of library.layersOf(model)) {
    if (!(await bring(layer, model, from, { tell: out.tell, gone: () => left }))) {
      done()
      stats.leftPulls += 1
      return
    }
    from += layer.size
  }
  done()
  if (model.fails !== '') out.tell({ error: model.fails })
  else {
    for (const status of ['verifying sha256 digest', 'writing manifest']) out.tell({ status })
    hold(context, name, { size: model.size })
    stats.pulled += 1
    out.tell({ status: 'success' })
  }
  out.end()
}

const push: Route = (context, response, fields) => {
  const { library, residency } = context
  const name = nameIn(fields)
  const out = teller(response, fields['stream'] !== false)
  const model = residency.find(name)
  if (!model) return sendJson(response, { error: `model '${name}' not found` }, 404)
  library.count(name).pushes += 1
  const digest = `sha256:${model.digest}`
  out.tell({ status: 'retrieving manifest' })
  for (const completed of [0, model.size]) out.tell({ status: `pushing ${digest.slice(7, 19)}`, digest, total: model.size, ...(completed > 0 && { completed }) })
  for (const status of ['pushing manifest', 'success']) out.tell({ status })
  out.end()
}

const create: Route = (context, response, fields, { headers }) => {
  const { residency, library, stats } = context
  stats.seen({ path: '/api/create', headers, body: JSON.stringify(fields) })
  const out = teller(response, fields['stream'] !== false)
  const from = residency.find(String(fields['from'] ?? ''))
  if (!from) out.tell({ error: 'pull model manifest: file does not exist' })
  else {
    const name = nameIn(fields)
    library.count(name).creates += 1
    for (const status of [`using existing layer sha256:${from.digest}`, 'writing manifest']) out.tell({ status })
    hold(context, name, { size: from.size })
    out.tell({ status: 'success' })
  }
  out.end()
}

const copy: Route = (context, response, fields) => {
  const { residency, library } = context
  const source = String(fields['source'] ?? '')
  const model = residency.find(source)
  if (!model) return sendJson(response, { error: `model ${JSON.stringify(source)} not found` }, 404)
  library.count(source).copies += 1
  hold(context, String(fields['destination']), { digest: model.digest, size: model.size })
  response.writeHead(200).end()
}

const remove: Route = (context, response, fields) => {
  const { residency, library } = context
  const name = nameIn(fields)
  const model = residency.find(name)
  if (!model) return sendJson(response, { error: `model '${name}' not found` }, 404)
  library.count(name).deletes += 1
  library.forget(name)
  residency.setModels(residency.models.filter((each) => each !== model))
  response.writeHead(200).end()
}

const ROUTES: Record<string, Route> = { 'POST /api/pull': pull, 'POST /api/push': push, 'POST /api/create': create, 'POST /api/copy': copy, 'DELETE /api/delete': remove }

/** Routes that change what an Ollama holds; `undefined` for any other. */
export const modelRoute = (method: string, path: string): ((context: EngineContext, request: IncomingMessage, response: ServerResponse, text: string) => void) | undefined => {
  const route = ROUTES[`${method} ${path}`]
  return (
    route &&
    ((context, request, response, text) => {
      const fields = parseObject(text)
      if (typeof fields === 'string') return sendJson(response, { error: fields }, 400)
      void Promise.resolve(route(context, response, fields, request)).catch(() => response.destroy())
    })
  )
}
