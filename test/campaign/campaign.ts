import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { statusOf } from '../support/drover.ts'
import { ask } from './client.ts'
import { checkHistory, type Verdict } from './checker.ts'
import { runBatch } from './batch.ts'
import { DIALECTS } from './formats.ts'
import { openHistory, type Line, type Tell } from './history.ts'
import { injector } from './inject.ts'
import { startLoad, type OrderOf } from './load.ts'
import { random } from './random.ts'
import { openRecords } from './records.ts'
import { inOrder, scheduleOf, type FaultName, type Timed } from './schedule.ts'
import { MODELS, openSite, type Site } from './site.ts'

export interface CampaignOptions {
  minutes: number
  seed: number
  only?: readonly FaultName[] | undefined
  /** The checkout whose gateway and worker run; this one by default. */
  dir?: string | undefined
  appendfsync: 'everysec' | 'always'
  /** Clients at once. */
  clients: number
  /** Lines of a batch that is handed in beside them; none by default. */
  batch?: number | undefined
  /** Where histories and logs go. */
  folder: string
  progress(text: string): void
  /** Done instead of what the seed would choose. */
  faults?: readonly Timed[] | undefined
  /** What clients want; the usual mixture by default. */
  order?: OrderOf | undefined
  /** More settings of gateways and workers. */
  env?: Record<string, string> | undefined
  /** 4 by default. */
  workers?: number | undefined
  /** Asked every few seconds with a verdict on what has been told so far; true ends the campaign at once. */
  enough?(soFar: Verdict): boolean
}

const WORKERS = 4
const GATEWAYS = 2
/** A site whose faults are lifted is as it was after this, ms. */
const NOMINAL_MS = 20_000
/** So often it is asked whether that is enough, ms. */
const ASK_MS = 3_000

/** All that a folder's histories say, in the order of time. Of one that is still being written the last line may be half there: it is left. */
export const readHistory = (folder: string): Line[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.jsonl'))
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as Line))
    .toSorted((a, b) => a.t - b.t)

/** What is not as it is when all is well. */
const wrongNow = async (site: Site): Promise<string[]> => {
  const wrong: string[] = []
  for (const { name, url } of site.gateways) {
    const status = await statusOf(url).catch((error: unknown) => wrong.push(`${name} does not answer: ${String(error)}`))
    if (typeof status === 'number') continue
    if (status.gateway.open_answers > 0) wrong.push(`${name} has ${status.gateway.open_answers} answers open`)
    for (const { model, waiting, running } of status.lanes) if (waiting + running > 0) wrong.push(`${name}: lane ${model} has ${waiting} waiting, ${running} running`)
    for (const worker of site.workers) {
      const node = status.nodes.find(({ id }) => id === worker.name)
      if (!node) wrong.push(`${name} does not know ${worker.name}`)
      else if (node.engines.length < worker.engines.length) wrong.push(`${name}: ${worker.name} has ${node.engines.length} engines`)
      for (const { id, models } of node?.engines ?? []) for (const { model, busy } of models) if (busy > 0) wrong.push(`${name}: ${worker.name} ${id} ${model} has ${busy} busy slots`)
    }
  }
  for (const engine of site.workers.flatMap(({ engines }) => engines)) {
    const running = await engine.admin?.stats().then((stats) => stats.running).catch(() => -1)
    if (running !== 0) wrong.push(`engine ${engine.name} has ${running} runs under way`)
  }
  return [...new Set(wrong)]
}

/** Every way in answers, once more. */
const probe = async (site: Site, tell: Tell): Promise<void> => {
  await Promise.all(site.urls.flatMap((_, gateway) => DIALECTS.flatMap((dialect) => Object.values(MODELS).flatMap((model) => [true, false].map((stream) =>
    ask(site.urls, gateway, { key: `probe-${gateway}-${dialect.replace('.', '-')}-${model.slice(0, 1)}-${stream ? 's' : 'w'}`, dialect, model, stream, sampling: 'zero', tokens: 12 }, tell))))))
}

const settle = async (site: Site, tell: Tell): Promise<void> => {
  const end = performance.now() + NOMINAL_MS
  let wrong = await wrongNow(site)
  while (wrong.length > 0 && performance.now() < end) {
    await sleep(300)
    wrong = await wrongNow(site)
  }
  for (const what of wrong) tell({ who: 'rest', type: 'wrong', what })
  if (wrong.length === 0) tell({ who: 'rest', type: 'right', what: 'lanes empty, nodes complete, no slot busy' })
}

/** One campaign from an empty site to a verdict on its history. */
export const runCampaign = async (options: CampaignOptions): Promise<Verdict> => {
  const { minutes, seed, only, dir, appendfsync, clients, batch = 0, folder, progress, faults: chosen, order, env, workers = WORKERS, enough } = options
  mkdirSync(folder, { recursive: true })
  const history = openHistory(join(folder, 'site.jsonl'))
  const schedule = chosen ? inOrder(chosen) : scheduleOf({ seed, minutes, workers, gateways: GATEWAYS, only })
  const site = await openSite({ workers, gateways: GATEWAYS, dir, appendfsync, env: { DROVER_FILES_DIR: join(folder, 'files'), ...env }, folder, tell: history.tell })
  const ending = new AbortController()
  let left: string[] = []
  let clientsOver: Promise<void> | undefined
  const found: Verdict[] = []
  try {
    const records = openRecords(site.redis, site.prefix, history.tell)
    let over = 0
    const tell: Tell = (line) => {
      history.tell(line)
      records.hears(line)
      if (line.who === 'client' && (line.type === 'ok' || line.type === 'fail')) over += 1
    }
    const load = startLoad({ urls: site.urls, places: clients, random: random(seed).fork('load'), tell, order })
    const lifted = Promise.withResolvers<void>()
    const batchOver = batch > 0 ? runBatch({ urls: site.urls, lines: batch, seed, tell: history.tell, lifted: lifted.promise }) : Promise.resolve()
    const faults = injector(site, load, history.tell, ending.signal)
    const until = (ms: number) => sleep(Math.max(0, ms - performance.now()), undefined, { signal: ending.signal }).catch(() => undefined)
    const began = performance.now()
    const ticker = setInterval(() => progress(`${Math.round((performance.now() - began) / 1000)} s: ${over} answers`), 10_000)
    const asking = enough && setInterval(() => {
      const soFar = checkHistory(readHistory(folder))
      if (!enough(soFar)) return
      found.push(soFar)
      ending.abort()
    }, ASK_MS)
    const doing: Promise<void>[] = []
    for (const appointment of schedule) {
      await until(began + appointment.at)
      if (ending.signal.aborted) break
      doing.push(faults.do(appointment, began + minutes * 60_000))
    }
    await until(began + minutes * 60_000)
    clearInterval(asking)
    await Promise.all(doing)
    clearInterval(ticker)
    if (found.length > 0) clientsOver = load.end()
    else {
      await faults.lift()
      for (const { standing } of [...site.gateways, ...site.workers, ...site.workers.flatMap(({ engines }) => engines)]) await standing.up()
      progress('all faults are lifted; the last clients end')
      lifted.resolve()
      await load.end()
      await batchOver
      await settle(site, history.tell)
      await probe(site, tell)
      await settle(site, history.tell)
      await records.settled(15_000)
    }
    records.close()
    faults.close()
  } finally {
    left = await site.close(found.length > 0 ? 'SIGKILL' : 'SIGTERM')
    await clientsOver
  }
  for (const what of left) history.tell({ who: 'rest', type: 'wrong', what })
  await history.close()
  // What came of the sudden end says nothing.
  return found[0] ?? checkHistory(readHistory(folder))
}
