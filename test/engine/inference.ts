import type { IncomingMessage, ServerResponse } from 'node:http'
import { send } from './answer.ts'
import type { EngineContext } from './context.ts'
import type { AnswerFormat } from './formats/format.ts'
import type { Model } from './options.ts'
import type { Wanted } from './prompt.ts'
import { Run } from './run.ts'

/** One inference request, read by its route. */
export interface Ask {
  model: Model
  wanted: Wanted
  promptTokens: number
  /** Most new tokens; Infinity where the request sets none. */
  limit: number
  stops: string[]
  stream: boolean
  format: AnswerFormat
  /** Whether a client that leaves a non-streamed request goes unnoticed, as with llama-server while it serves others. */
  deaf: boolean
  /** Load-time options, as text. */
  options?: string
  /** `keep_alive` in ms; negative: for ever. */
  keepMs?: number
  /** An error before the first byte, in this route's form. */
  refuse(status: number, message?: string): void
}

const BUSY = 'server busy, please try again.  maximum pending requests exceeded'

const nonsense: Record<string, readonly [type: string, body: string]> = {
  html: ['text/html', '<!doctype html><html><body><h1>It works!</h1></body></html>'],
  text: ['text/plain', 'proxy error: Failed to read connection'],
  empty: ['application/json', ''],
}

/** Leads a request through its script, its wait for a slot, and its run. */
export const infer = (
  { settings, pacer, stats, residency, rules, runs, die }: EngineContext,
  request: IncomingMessage,
  response: ServerResponse,
  body: string,
  ask: Ask,
) => {
  const { key, partial } = ask.wanted
  const { name } = ask.model
  stats.seen({ path: request.url ?? '', headers: request.headers, body, key })
  for (const each of [stats.all, stats.model(name), stats.job(key)]) each.requests++
  const script = rules.resolve(key, ask.wanted.script)
  if (script.drop) return void response.socket?.destroy()
  if (script.fail) return ask.refuse(script.fail, script.fail === 503 ? BUSY : undefined)
  if (script.nonsense !== undefined) {
    const [type, text] = nonsense[script.nonsense] ?? ['text/plain', script.nonsense]
    return send(response, 200, type, text)
  }

  const since = performance.now()
  let run: Run | undefined
  const waiter = {
    gone: false,
    ...(ask.options !== undefined && { options: ask.options }),
    granted(loadMs: number) {
      const runStats = stats.began(name, key, partial.have)
      const plan = { ...ask, key, script, partial, loadMs, since, stats: runStats, closes: settings.closesStreams }
      const started = new Run(plan, {
        pacer,
        die,
        over(end) {
          runs.delete(started)
          stats.ended(name, key, runStats, end)
          residency.release(name, ask.keepMs)
        },
      }, response)
      run = started
      runs.add(started)
      started.start()
    },
    refused: () => ask.refuse(503, BUSY),
  }
  response.on('close', () => {
    if (run) {
      if (run.stream || !ask.deaf) run.abort()
    } else if (!response.writableFinished) {
      for (const each of [stats.all, stats.model(name), stats.job(key)]) each.left++
      residency.leave(name, waiter)
    }
  })
  residency.acquire(name, waiter)
}
