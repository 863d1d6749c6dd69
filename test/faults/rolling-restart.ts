import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnScriptedEngine } from '../engine/spawn.ts'
import { verifyText } from '../engine/tokens.ts'
import { ConnectingClient, type WholeAnswer } from '../support/connecting-client.ts'
import { type Gateway, Installation, type Part, until } from '../support/drover.ts'
import { freePort } from '../support/program.ts'
import { startRedis } from '../support/redis-server.ts'

export interface RollingRestartOptions {
  requests: number
  /** At least so many rounds of restarts, all parts one after another in each. */
  rounds: number
  gateways: number
  workers: number
  /** Requests side by side; of these `streams` are long. */
  clients: number
  streams: number
  /** How long a long stream takes, ms. */
  streamMs: number
  /** What workers are given to let their jobs end, like `30s`. */
  drainLimit: string
}

export interface Restarted {
  requests: number
  /** What went wrong, one text each. */
  failed: string[]
  /** Of these: streams that ended without their end event, or with a wrong text. */
  cut: number
  restarts: { gateways: number; workers: number }
  /** Long streams during which the gateway, or the worker, that served them was told to end. */
  spanned: { gateways: number; workers: number }
  /** Answers that took more than one attempt. */
  moved: number
  unconnected: number
  reused: number
  seconds: number
  longestMs: number
}

const MODEL = 'scripted:latest'
const SHORT = 8
/** Tokens a second of long streams. */
const RATE = 40
/** Longest that a part may take to end, ms. */
const ENDS_MS = 60_000

interface Kind {
  name: string
  path: string
  body(prompt: string): object
  read(body: string): { text: string; ended: boolean; error: string | undefined }
}

interface NativeEvent {
  message?: { content?: string }
  response?: string
  done?: boolean
  error?: string
}
interface OpenAiEvent {
  choices?: { delta: { content?: string } }[]
  error?: { message: string }
}

const native = (body: string): ReturnType<Kind['read']> => {
  const events = body.trimEnd().split('\n').map((line) => JSON.parse(line) as NativeEvent)
  return {
    text: events.map((event) => event.message?.content ?? event.response ?? '').join(''),
    ended: events.at(-1)?.done === true,
    error: events.find((event) => event.error !== undefined)?.error,
  }
}

const openAi = (body: string): ReturnType<Kind['read']> => {
  const lines = body.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice('data: '.length))
  const events = lines.filter((line) => line !== '[DONE]').map((line) => JSON.parse(line) as OpenAiEvent)
  return {
    text: events.map(({ choices = [] }) => choices[0]?.delta.content ?? '').join(''),
    ended: lines.at(-1) === '[DONE]',
    error: events.find((event) => event.error !== undefined)?.error?.message,
  }
}

const chat = (prompt: string, stream: boolean) => ({ model: MODEL, stream, messages: [{ role: 'user', content: prompt }] })
const KINDS: readonly Kind[] = [
  { name: 'chat', path: '/api/chat', body: (prompt) => chat(prompt, true), read: native },
  { name: 'openai', path: '/v1/chat/completions', body: (prompt) => chat(prompt, true), read: openAi },
  { name: 'generate', path: '/api/generate', body: (prompt) => ({ model: MODEL, stream: true, prompt }), read: native },
  { name: 'whole', path: '/api/chat', body: (prompt) => chat(prompt, false), read: native },
]

/** What is wrong with an answer; `undefined`: nothing. */
const faultOf = ({ status, body }: WholeAnswer, kind: Kind, key: string, tokens: number): string | undefined => {
  if (status !== 200) return `${status} ${body.slice(0, 200)}`
  const { text, ended, error } = kind.read(body)
  const verdict = verifyText(key, text)
  if (error !== undefined) return `cut: ${error}`
  if (!ended) return 'cut: without its end'
  if (!verdict.ok) return `cut: ${verdict.reason}`
  return verdict.count === tokens ? undefined : `cut: ${verdict.count} of ${tokens} tokens`
}

/** A part that can be told to end and is started anew, with when it was last told so. */
interface Restartable {
  role: 'gateways' | 'workers'
  name: string
  told: number[]
  restart(): Promise<void>
}

const ended = async (part: Part): Promise<void> => {
  const code = await Promise.race([part.exited, sleep(ENDS_MS, 'late', { ref: false })])
  if (code !== 0) throw new Error(`a part that was told to end gave ${code}: ${part.log().slice(-2_000)}`)
}

/** All gateways and workers are restarted one after another, again and again, while clients ask. */
export const rollingRestart = async (options: RollingRestartOptions, onProgress: (done: number) => void = () => undefined): Promise<Restarted> => {
  const redis = await startRedis({ roles: true })
  const site = new Installation(redis.url, {}, redis.urlFor)
  // As many slots as there are requests while one worker is away: else the quickest worker would have nearly all of them.
  const slots = Math.ceil(options.clients / (options.workers - 1))
  const engines = await Promise.all(Array.from({ length: options.workers }, () => spawnScriptedEngine({ slots })))
  try {
    const addresses = await Promise.all(Array.from({ length: options.gateways }, freePort))
    const parts: Restartable[] = []
    for (const [n, engine] of engines.entries()) {
      const name = `w${n}`
      const start = () => site.worker(name, [{ url: engine.url, slots }], { env: { DROVER_DRAIN_LIMIT: options.drainLimit } })
      let worker = await start()
      const told: number[] = []
      const restart = async () => {
        told.push(performance.now())
        worker.signal('SIGTERM')
        await ended(worker)
        worker = await start()
      }
      parts.push({ role: 'workers', name, told, restart })
    }
    const urls: string[] = []
    for (const port of addresses) {
      const start = () => site.gateway({ DROVER_PORT: String(port) })
      let gateway: Gateway = await start()
      urls.push(gateway.url)
      const told: number[] = []
      const restart = async () => {
        told.push(performance.now())
        gateway.signal('SIGTERM')
        await ended(gateway)
        gateway = await start()
      }
      // Gateways and workers in turns.
      parts.splice(2 * urls.length - 1, 0, { role: 'gateways', name: gateway.url, told, restart })
    }
    await until('all nodes are seen', async () => (await models(urls[0]!)) === options.workers)
    return await load(options, urls, parts, onProgress)
  } finally {
    await site.stop()
    await Promise.all(engines.map((engine) => engine.close()))
    await redis.stop()
  }
}

const models = async (url: string): Promise<number> => {
  const { models: held } = (await (await fetch(`${url}/api/status`)).json()) as { models: { nodes: string[] }[] }
  return held[0]?.nodes.length ?? 0
}

const load = async (options: RollingRestartOptions, urls: readonly string[], parts: readonly Restartable[], onProgress: (done: number) => void): Promise<Restarted> => {
  const client = new ConnectingClient(urls)
  const result: Restarted = {
    requests: 0, failed: [], cut: 0, restarts: { gateways: 0, workers: 0 }, spanned: { gateways: 0, workers: 0 }, moved: 0, unconnected: 0, reused: 0, seconds: 0, longestMs: 0,
  }
  const began = performance.now()
  let rounds = 0
  let broken = false
  const enough = () => broken || (result.requests >= options.requests && rounds >= options.rounds)
  const told = (role: Restartable['role'], name: unknown, from: number, to: number) =>
    parts.some((part) => part.role === role && part.name === name && part.told.some((at) => at > from && at < to))

  const askOne = async (n: number, long: boolean): Promise<void> => {
    const kind = long ? KINDS[n % 3]! : KINDS[n % KINDS.length]!
    const key = `r${n}`
    const tokens = long ? Math.round((options.streamMs * RATE) / 1000) : SHORT
    const from = performance.now()
    try {
      const answer = await client.post(kind.path, kind.body(`job=${key} tokens=${tokens}${long ? ` rate=${RATE}` : ''}`))
      const fault = faultOf(answer, kind, key, tokens)
      if (fault !== undefined) throw new Error(`${fault} (${answer.url}, ${String(answer.headers['x-drover-node'])})`)
      const to = performance.now()
      if (!long) result.longestMs = Math.max(result.longestMs, to - from)
      else {
        if (told('gateways', answer.url, from, to)) result.spanned.gateways += 1
        if (told('workers', answer.headers['x-drover-node'], from, to)) result.spanned.workers += 1
      }
      if (Number(answer.headers['x-drover-attempts']) > 1) result.moved += 1
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      if (text.includes('cut')) result.cut += 1
      const since = parts.flatMap((part) => part.told.map((at) => ({ name: part.name, at }))).toSorted((a, b) => b.at - a.at)[0]
      result.failed.push(`${kind.name} ${key}: ${text}; ${((performance.now() - (since?.at ?? 0)) / 1000).toFixed(2)} s after the last SIGTERM, to ${since?.name ?? 'nobody'}`)
    }
    result.requests += 1
    onProgress(result.requests)
  }

  let next = 0
  const asking = Array.from({ length: options.clients }, async (_, i) => {
    const long = i < options.streams
    while (!enough()) {
      await askOne(next++, long)
      // Some connections lie idle for longer than a server that ends lets them.
      if (!long) await sleep(Math.random() < 0.01 ? Math.random() * 3_000 : Math.random() * 40)
    }
  })
  const restarting = async () => {
    while (!enough()) {
      for (const part of parts) {
        await part.restart()
        result.restarts[part.role] += 1
      }
      rounds += 1
    }
  }
  const restartingAll = restarting().catch((error: unknown) => {
    broken = true
    result.failed.push(String(error))
  })
  await Promise.all([...asking, restartingAll])
  client.close()
  return { ...result, unconnected: client.unconnected, reused: client.reused, seconds: (performance.now() - began) / 1000 }
}

const USAGE = `node test/faults/rolling-restart.ts [--requests N] [--rounds N] [--clients N] [--streams N] [--stream-ms N] [--drain-limit 30s]

Restarts two gateways and three workers, one after another, again and again under load. The client goes to the other gateway only when
a connection is refused, or a fresh one reset before any byte of an answer. Exit code 1 when a request failed or a
stream was cut.`

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      requests: { type: 'string', default: '20000' },
      rounds: { type: 'string', default: '5' },
      clients: { type: 'string', default: '24' },
      streams: { type: 'string', default: '6' },
      'stream-ms': { type: 'string', default: '4000' },
      'drain-limit': { type: 'string', default: '30s' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(USAGE)
  const options = {
    requests: Number(values.requests), rounds: Number(values.rounds), gateways: 2, workers: 3, clients: Number(values.clients),
    streams: Number(values.streams), streamMs: Number(values['stream-ms']), drainLimit: values['drain-limit'],
  }
  const result = await rollingRestart(options, (done) => done % 1_000 === 0 && console.error(`${done} requests`))
  const rows: [string, string | number][] = [
    ['requests', result.requests],
    ['failed', result.failed.length],
    ['streams cut', result.cut],
    ['restarts of gateways', result.restarts.gateways],
    ['restarts of workers', result.restarts.workers],
    ['long streams over a gateway’s SIGTERM', result.spanned.gateways],
    ['long streams over a worker’s SIGTERM', result.spanned.workers],
    ['answers by more than one attempt', result.moved],
    ['connections refused, tried elsewhere', result.unconnected],
    ['requests over a kept connection', result.reused],
    ['longest short answer, ms', Math.round(result.longestMs)],
    ['seconds', Math.round(result.seconds)],
  ]
  for (const [name, value] of rows) console.log(`${name.padEnd(40)}${String(value).padStart(8)}`)
  for (const text of result.failed.slice(0, 30)) console.log(text)
  process.exitCode = result.failed.length > 0 ? 1 : 0
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
