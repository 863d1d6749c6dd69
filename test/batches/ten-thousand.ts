import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { verifyText } from '../engine/tokens.ts'
import { spawnScriptedEngine } from '../engine/spawn.ts'
import { ask } from '../support/client.ts'
import { Installation } from '../support/drover.ts'
import { startRedis } from '../support/redis-server.ts'
import { chatLine, clientOf, ended, resultsOf, submit } from './lines.ts'

export interface TenThousandOptions {
  lines: number
  /** Slots of each of the three nodes. */
  slots: number
  /** How long an engine works on one answer, ms. */
  answerMs: number
  /** Part of all slots that interactive requests would keep busy by themselves. */
  interactive: number
  /** How long these alone are measured first, ms. */
  aloneMs: number
}

export interface FirstTokens {
  requests: number
  wrong: number
  p50: number
  p99: number
}

export interface TenThousandFigures {
  status: string
  counts: Record<string, number>
  /** Every custom_id stands exactly once in the files, and its answer is its own. */
  once: boolean
  right: boolean
  wallMs: number
  /** Work that ended in an answer, as a part of what all slots could have done from the batch's begin to its end. */
  busy: number
  alone: FirstTokens
  beside: FirstTokens
}

const TOKENS = 10

const quantile = (values: readonly number[], q: number): number => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))] ?? Number.NaN

/** Interactive requests at random times, so many a second, until they are to end: each is its own client. */
const traffic = (url: string, perSecond: number, script: Record<string, number>, name: string) => {
  const over = new AbortController()
  const asked: Promise<{ firstMs: number; ok: boolean }>[] = []
  const one = async (key: string) => {
    const began = performance.now()
    const asking = ask(url, 'openai.chat', { key, model: 'scripted', script })
    await asking.tokens(1)
    const firstMs = performance.now() - began
    const told = await asking.told.catch(() => undefined)
    return { firstMs, ok: told?.status === 200 && told.ended && told.verdict.ok && told.verdict.count === TOKENS }
  }
  const going = (async () => {
    for (let i = 0; !over.signal.aborted; i += 1) {
      asked.push(one(`${name}-${i}`))
      await sleep((-Math.log(1 - Math.random()) * 1000) / perSecond, undefined, { signal: over.signal }).catch(() => undefined)
    }
  })()
  return async (): Promise<FirstTokens> => {
    over.abort()
    await going
    const all = await Promise.all(asked)
    const times = all.map(({ firstMs }) => firstMs)
    return { requests: all.length, wrong: all.filter(({ ok }) => !ok).length, p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
  }
}

/** A batch over three nodes while others wait for their answers: how much of the slots it uses, and what it costs the others. */
export const tenThousand = async ({ lines, slots, answerMs, interactive, aloneMs }: TenThousandOptions, env: Record<string, string> = {}): Promise<TenThousandFigures> => {
  const redis = await startRedis()
  const installation = new Installation(redis.url, { DROVER_FILES_DIR: await mkdtemp(join(redis.dir, 'files-')), ...env })
  const engines = await Promise.all([0, 1, 2].map(() => spawnScriptedEngine({ slots })))
  try {
    const gateway = await installation.gateway()
    await Promise.all(engines.map(({ url }, i) => installation.worker(`n${i}`, [{ url, slots }], { gateway })))
    const openai = clientOf(gateway.url)
    const all = 3 * slots
    // The first token comes at once.
    const rate = ((TOKENS - 1) * 1000) / answerMs
    const perSecond = (interactive * all * 1000) / answerMs
    const script = { tokens: TOKENS, rate }

    const alone = traffic(gateway.url, perSecond, script, 'alone')
    await sleep(aloneMs)
    const before = await alone()

    const ids = Array.from({ length: lines }, (_, i) => `line-${i}`)
    const text = ids.map((id) => chatLine(id, { script: `tokens=${TOKENS} rate=${rate}` })).join('')
    const { id } = await submit(openai, text)
    const began = performance.now()
    const beside = traffic(gateway.url, perSecond, script, 'beside')
    const batch = await ended(() => openai, id, 3_600_000)
    const wallMs = performance.now() - began
    const during = await beside()
    const { output, errors } = await resultsOf(openai, batch)
    const told = [...output, ...errors].map((line) => line.custom_id)
    return {
      status: batch.status,
      counts: batch.request_counts as unknown as Record<string, number>,
      once: told.length === lines && new Set(told).size === lines,
      right: output.every((line) => {
        const verdict = verifyText(line.custom_id, line.response?.body.choices?.[0]?.message.content ?? '')
        return verdict.ok && verdict.count === TOKENS
      }),
      wallMs,
      busy: ((output.length + during.requests) * answerMs) / (all * wallMs),
      alone: before,
      beside: during,
    }
  } finally {
    await installation.stop()
    await Promise.all(engines.map((engine) => engine.close()))
    await redis.stop()
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { lines: { type: 'string', default: '10000' }, slots: { type: 'string', default: '8' }, ms: { type: 'string', default: '200' }, interactive: { type: 'string', default: '0.2' }, alone: { type: 'string', default: '20000' } },
  })
  const figures = await tenThousand({ lines: Number(values.lines), slots: Number(values.slots), answerMs: Number(values.ms), interactive: Number(values.interactive), aloneMs: Number(values.alone) })
  console.log(JSON.stringify(figures, null, 2))
}
