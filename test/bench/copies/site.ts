import { randomFillSync } from 'node:crypto'
import { execFile } from 'node:child_process'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { keys, Tickets } from '../../../libs/broker/src/index.ts'
import { openMachines, type Machine } from '../../cluster/machines.ts'
import { keepModel, makeStore } from '../../engine/store.ts'
import { streamedLines } from '../../models/lines.ts'
import { statusOf, until, type Gateway } from '../../support/drover.ts'
import { startProgram, type Program } from '../../support/program.ts'

const MODEL = 'big:1gb'
const ENGINE = fileURLToPath(new URL('../../engine/main.ts', import.meta.url))
const MOST_MS = 120_000

export interface CopySite {
  bytes: number
  /** Whether both machines have networks of their own; else the loopback is the link. */
  apart: boolean
  /** Has curl fetch the weights; ms. */
  curl(): Promise<number>
  /** Has Drover copy the model; ms from the request to `success`, and the most memory of the receiving and of the sending worker meanwhile, over what they had before. */
  copy(): Promise<{ ms: number; grown: { receiver: number; sender: number } }>
  /** Kills the receiver in the middle and starts it anew. Answers what had come by then, and what was sent after it. */
  killed(): Promise<{ before: number; after: number }>
  close(): Promise<void>
}

const rssOf = async (pid: number): Promise<number> => Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024

const storeOf = ({ folder }: Machine) => join(folder, 'ollama')

/** Two machines with an Ollama's folder each, one of which holds a model of so many bytes. @param mbit what its cable lets through; 0: all that it can */
export const openCopySite = async (bytes: number, mbit: number): Promise<CopySite> => {
  const machines = await openMachines([{ name: 'a', memory: 1e9 }, { name: 'b', memory: 1e9 }])
  const engines: Program[] = []
  const close = async () => {
    for (const engine of engines) engine.signal('SIGKILL')
    await Promise.all(engines.map(({ exited }) => exited))
    await machines.close()
  }
  try {
    const [a, b] = [machines.named('a'), machines.named('b')]
    if (mbit > 0 && machines.network.apart) {
      const [program = '', ...args] = [...a.host.within, 'tc', 'qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', 'rate', `${mbit}mbit`, 'burst', '2mb', 'latency', '50ms']
      await promisify(execFile)(program, args)
    }
    await makeStore(storeOf(b))
    const [weights = ''] = await keepModel(storeOf(a), MODEL, randomFillSync(Buffer.alloc(bytes)))
    const urls = new Map<Machine, string>()
    for (const machine of machines.all) {
      const [program = '', ...args] = [...machine.host.within, process.execPath, ENGINE, '--options', JSON.stringify({ models: [], store: storeOf(machine) })]
      const engine = await startProgram(program, args)
      engines.push(engine)
      await until('the engine says its port', () => engine.log().includes('\n'))
      urls.set(machine, `http://127.0.0.1:${(JSON.parse(engine.log()) as { port: number }).port}`)
    }
    const gateway: Gateway = await machines.drover.gateway()
    const env = (machine: Machine) => ({ OLLAMA_MODELS: storeOf(machine), DROVER_LEND: 'false' })
    for (const machine of machines.all) await machine.work([urls.get(machine)!], env(machine))
    const blob = join(storeOf(b), 'blobs', `sha256-${weights}`)
    const holders = async () => (await statusOf(gateway.url)).nodes.filter(({ engines: all }) => all.some(({ models }) => models.some(({ model }) => model === MODEL))).map(({ id }) => id)
    await until('the model is known', async () => (await holders()).includes('a'))

    const forget = async () => {
      await fetch(`${gateway.url}/api/delete`, { method: 'DELETE', body: JSON.stringify({ model: MODEL }), headers: { 'x-drover-nodes': 'b' } })
      for (const name of await readdir(join(storeOf(b), 'blobs'))) await rm(join(storeOf(b), 'blobs', name))
      await until('it is forgotten', async () => (await holders()).join() === 'a')
    }
    const transfer = () => streamedLines(gateway.url, '/api/transfer', { model: MODEL, from: 'a', to: 'b' })
    const ended = async ({ over, last }: ReturnType<typeof transfer>) => {
      await over
      if (last()?.status !== 'success') throw new Error(`the copy ended with ${JSON.stringify(last())}`)
    }
    await ended(transfer())
    await forget()
    const client = new Redis(machines.redis.connection)
    const tickets = new Tickets((await client.get(keys(machines.drover.prefix).copySecret)) ?? '')
    client.disconnect()
    const said = a.logged().find(({ msg }) => msg === 'hands out model files')
    const path = `/copies/files/${weights}`
    return {
      bytes,
      apart: machines.network.apart,
      async curl() {
        const out = join(b.folder, 'curl')
        const [program = '', ...args] = [...b.host.within, 'curl', '-sS', '--fail', '-o', out, '-w', '%{time_total}', '-H', `x-drover-ticket: ${tickets.ticket({ node: 'a', method: 'GET', path })}`, `http://${String(said?.['address'])}:${String(said?.['port'])}${path}`]
        const { stdout } = await promisify(execFile)(program, args)
        const { size } = await stat(out)
        if (size !== bytes) throw new Error(`curl has fetched ${size} bytes`)
        await rm(out)
        return Number(stdout) * 1_000
      },
      async copy() {
        const pids = { receiver: b.worker().pid, sender: a.worker().pid }
        const before = { receiver: await rssOf(pids.receiver), sender: await rssOf(pids.sender) }
        const grown = { receiver: 0, sender: 0 }
        const over = new AbortController()
        const watch = (async () => {
          while (!over.signal.aborted) {
            for (const who of ['receiver', 'sender'] as const) grown[who] = Math.max(grown[who], (await rssOf(pids[who])) - before[who])
            await new Promise((resolve) => setTimeout(resolve, 50))
          }
        })()
        const startedAt = performance.now()
        await ended(transfer())
        const ms = performance.now() - startedAt
        over.abort()
        await watch
        await forget()
        return { ms, grown }
      },
      async killed() {
        const copy = transfer()
        await until('it is half done', async () => (await stat(`${blob}-drover`).catch(() => ({ size: 0 }))).size > bytes / 2, MOST_MS)
        b.worker().signal('SIGKILL')
        await b.worker().exited
        const { size: before } = await stat(`${blob}-drover`)
        await b.work()
        await ended(copy)
        const told = b.logged().findLast(({ msg }) => msg === 'model copied')
        await forget()
        return { before, after: Number(told?.['bytes']) }
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
