import { statSync, truncateSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openWorker, type Loan, type LoanAsk, type LoanState } from '@drover/broker'
import type { ModelName, NodeRecord } from '@drover/core'
import { rpcHello, startRpcServer } from '@drover/engines'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { copySmall, modelsFolder, running } from '../supervised/site.ts'
import { ask } from '../support/client.ts'
import { Installation, until, type Environment } from '../support/drover.ts'
import { llamaServerPath } from '../support/llama-server.ts'
import { appendedTo, startRedis, type RedisServer } from '../support/redis-server.ts'
import { rpcServerPath, skipsWithoutRpcServer } from '../support/rpc-server.ts'

const MIB = 2 ** 20
const TOTAL = 1024 * MIB

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis({ roles: true })
})
afterAll(() => redis.stop())

interface Lent {
  loan: string
  pid: number
  port: number
}

/** A real worker that lends 1 GiB of its CPU, and a borrower in this process. */
const site = async (env: Environment = {}, server = redis) => {
  const drover = new Installation(server.url, {}, server.urlFor)
  onTestFinished(() => drover.stop())
  // Threads of llama.cpp wait for each other by spinning.
  const lends = { DROVER_LEND: 'true', DROVER_LEND_MEMORY: String(TOTAL), DROVER_RPC_SERVER: rpcServerPath() ?? 'rpc-server', LLAMA_ARG_THREADS: '1' }
  const worker = await drover.worker('l', [], { env: { ...lends, ...env } })
  const borrower = await openWorker('c', { url: server.urlFor?.('worker') ?? server.url, prefix: drover.prefix, onError: () => undefined })
  onTestFinished(() => borrower.close())
  const lines = (message: string): Record<string, unknown>[] =>
    worker.log().split('\n').flatMap((line) => {
      const entry = line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {}
      return entry['msg'] === message ? [entry] : []
    })
  const record = async (): Promise<NodeRecord | undefined> => (await borrower.registry.nodes()).find(({ id }) => id === 'l')
  return {
    drover, worker, borrower, lines, record,
    lent: ({ id }: Loan) => lines('memory lent').find(({ loan }) => loan === id) as Lent | undefined,
    free: async () => (await record())?.lending?.devices[0]?.free,
  }
}
type Site = Awaited<ReturnType<typeof site>>

const asking = (mib: number, more: Partial<LoanAsk> = {}): LoanAsk => ({ lender: 'l', device: 'CPU', bytes: mib * MIB, model: 'm:1' as ModelName, cluster: 'c1', own: false, ...more })

/** A loan that is renewed until it is let go; `heard`: its states, each once in a row, with when. */
const hold = async ({ borrower }: Site, ask: LoanAsk) => {
  const loan = await borrower.loans.borrow(ask)
  const heard: { state: LoanState; at: number }[] = []
  const look = () =>
    void borrower.loans.renew([loan]).then(([renewed]) => {
      if (renewed && heard.at(-1)?.state.state !== renewed.state.state) heard.push({ state: renewed.state, at: performance.now() })
    }, () => undefined)
  borrower.loans.onNews(look)
  const timer = setInterval(look, 1_000)
  const letGo = () => clearInterval(timer)
  onTestFinished(letGo)
  const last = () => heard.at(-1)?.state
  return { loan, heard, last, letGo, release: () => (letGo(), borrower.loans.release([loan])) }
}

const ready = async (s: Site, ask: LoanAsk) => {
  const held = await hold(s, ask)
  await until('it is ready', () => held.last()?.state === 'ready')
  await until('that is logged', () => s.lent(held.loan) !== undefined)
  const { pid, port } = s.lent(held.loan)!
  expect(held.last()).toEqual({ state: 'ready', port })
  return { ...held, pid, port }
}

/** Whether anything of it is left: the process, or the shell that watches over it. */
const leftOf = async ({ pid, port }: { pid: number; port: number }): Promise<number[]> => [...new Set([...(await running(`\0-p\0${port}\0`)), ...(await running('rpc-server')).filter((id) => id === pid)])]

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }).once('connect', () => (socket.destroy(), resolve(true))).once('error', () => resolve(false))
  })

const untilGone = async (process: { pid: number; port: number }, ms?: number) => {
  await until('the process is gone', async () => (await leftOf(process)).length === 0, ms)
  expect(await listens(process.port)).toBe(false)
}

const skip = skipsWithoutRpcServer()

test.skipIf(skip)('each loan has a process of its own, which says hello, and is gone with the loan', async () => {
  const s = await site({ DROVER_LEND_PORTS: '47100-47103' })
  expect((await s.record())?.lending).toEqual({ address: '127.0.0.1', line: expect.any(Number) as number, devices: [{ name: 'CPU', kind: 'cpu', total: TOTAL, free: TOTAL }] })
  const [one, two] = [await ready(s, asking(300)), await ready(s, asking(200))]
  for (const { port } of [one, two]) expect([47_100, 47_101, 47_102, 47_103]).toContain(port)
  expect(one.pid).not.toBe(two.pid)
  expect(one.port).not.toBe(two.port)
  for (const { port } of [one, two]) expect(await rpcHello('127.0.0.1', port, AbortSignal.timeout(5_000))).toMatch(/^\d+\.\d+\.\d+$/)
  await until('less is free', async () => (await s.free())! <= TOTAL - 500 * MIB)
  await one.release()
  await untilGone(one)
  expect(await rpcHello('127.0.0.1', two.port, AbortSignal.timeout(5_000))).toBeTruthy()
  expect(two.last()?.state).toBe('ready')
  await two.release()
  await untilGone(two)
  await until('all is free', async () => (await s.free()) === TOTAL)
  // Nothing secret is in the log.
  for (const { loan } of [one, two]) expect(s.worker.log()).not.toContain(loan.token)
})

test.skipIf(skip)('the loans of a borrower that has died end after five seconds', async () => {
  const s = await site()
  const held = await ready(s, asking(300))
  const begun = performance.now()
  held.letGo()
  await untilGone(held, 12_000)
  expect(performance.now() - begun).toBeGreaterThan(3_500)
  await until('all is free', async () => (await s.free()) === TOTAL)
})

test.skipIf(skip)('a process that is killed is heard of within a second, and its memory is free', async () => {
  const s = await site()
  const held = await ready(s, asking(300))
  const killed = performance.now()
  process.kill(held.pid, 'SIGKILL')
  await until('that is heard', () => held.last()?.state === 'failed')
  expect(held.last()).toEqual({ state: 'failed', reason: 'rpc-server ended by itself (SIGKILL)' })
  expect(held.heard.at(-1)!.at - killed).toBeLessThan(1_000)
  await untilGone(held)
  await until('all is free', async () => (await s.free()) === TOTAL)
  expect(s.lines('loan failed')).toMatchObject([{ loan: held.loan.id, reason: 'rpc-server ended by itself (SIGKILL)' }])
})

test.skipIf(skip)('a worker that is told to end ends what it has lent, and says so at once', async () => {
  const s = await site()
  const held = [await ready(s, asking(300)), await ready(s, asking(200))]
  const told = performance.now()
  s.worker.signal('SIGTERM')
  await until('that is heard', () => held.every(({ last }) => last()?.state === 'failed'))
  expect(held[0]!.last()).toEqual({ state: 'failed', reason: 'the worker is ending' })
  expect(performance.now() - told).toBeLessThan(2_000)
  await Promise.all(held.map((each) => untilGone(each)))
  expect(await s.worker.exited).toBe(0)
})

test.skipIf(skip)('a worker that is killed takes what it has lent along, and is gone when its silence is noticed', async () => {
  const s = await site()
  const held = await ready(s, asking(300))
  await sleep(5_000) // who has only just come judges nobody
  s.worker.signal('SIGKILL')
  await untilGone(held)
  await until('its silence is noticed', () => held.last()?.state === 'gone')
})

test.skipIf(skip)('a worker that was frozen ends what has expired when it wakes', async () => {
  const s = await site()
  const held = await ready(s, asking(300))
  await sleep(5_000)
  s.worker.signal('SIGSTOP')
  await until('its silence is noticed', () => held.last()?.state === 'gone')
  // What it has lent is still there: it cannot be ended by who is frozen.
  expect(await leftOf(held)).toContain(held.pid)
  s.worker.signal('SIGCONT')
  await untilGone(held)
  expect(held.last()?.state).toBe('gone')
  await until('all is free', async () => (await s.free()) === TOTAL)
  await ready(s, asking(1000))
})

test.skipIf(skip)('nothing beyond the offer is lent, and a process is refused what goes far beyond its loan', async () => {
  const s = await site()
  const held = await ready(s, asking(700))
  await expect(s.borrower.loans.borrow(asking(400))).rejects.toMatchObject({ code: 'engine_failed', message: expect.stringContaining('was asked for') as string })
  // A quarter, at least 1 GiB, more than the loan.
  expect(await allocates(held.port, 700 * MIB)).toBe(true)
  expect(await allocates(held.port, 2_000 * MIB)).toBe(false)
  expect(held.last()?.state).toBe('ready')
})

/** A message of its protocol. */
const message = (command: number, body: Buffer) => {
  const head = Buffer.alloc(9)
  head.writeUInt8(command, 0)
  head.writeBigUInt64LE(BigInt(body.length), 1)
  return Buffer.concat([head, body])
}

/** Asks an rpc-server for a buffer, by its protocol. */
const allocates = async (port: number, bytes: number): Promise<boolean> => {
  const socket = connect({ host: '127.0.0.1', port })
  const body = Buffer.alloc(12)
  body.writeBigUInt64LE(BigInt(bytes), 4)
  socket.write(Buffer.concat([message(14, Buffer.alloc(24)), message(0, body)]))
  let got = Buffer.alloc(0)
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    got = Buffer.concat([got, chunk])
    // Two answers: to the hello, and a pointer with its size.
    if (got.length >= 36 + 24) break
  }
  return got.readBigUInt64LE(36 + 8) !== 0n
}

test.skipIf(skip)('a Redis that is killed and has forgotten the last second ends nothing', async () => {
  const server = await startRedis()
  onTestFinished(() => server.stop())
  const s = await site({}, server)
  const file = appendedTo(server.dir)
  const kept = statSync(file).size
  const held = await ready(s, asking(300))
  await server.kill()
  truncateSync(file, kept)
  await server.restart()
  await until('the ledger has it again', async () => {
    const [renewed] = await s.borrower.loans.renew([held.loan]).catch(() => [])
    return renewed?.state.state === 'ready' && (await s.free().catch(() => undefined)) === TOTAL - 300 * MIB
  })
  await sleep(7_000)
  expect(held.heard.map(({ state }) => state.state)).toEqual(expect.not.arrayContaining(['gone', 'failed']))
  expect(await leftOf(held)).toContain(held.pid)
  await held.release()
  await untilGone(held)
})

test.skipIf(skip)('a worker that is started anew does not speak for the processes of the one before', async () => {
  const s = await site()
  const held = await ready(s, asking(300))
  s.worker.signal('SIGKILL')
  await s.worker.exited
  await s.drover.worker('l', [], { env: { DROVER_LEND: 'true', DROVER_LEND_MEMORY: String(TOTAL), DROVER_RPC_SERVER: rpcServerPath() ?? '' } })
  await until('the loan is over', () => held.last()?.state === 'failed' || held.last()?.state === 'gone')
  await untilGone(held)
})

test.skipIf(skip || llamaServerPath() === undefined)('models of the node and what it lends share its memory', async () => {
  const folder = await modelsFolder(async (remove) => onTestFinished(remove))
  await copySmall(folder, 'small.gguf')
  const s = await site({ DROVER_MODELS_DIR: folder, DROVER_LLAMA_SERVER: llamaServerPath() ?? '', DROVER_NUM_CTX: '512', DROVER_LLAMA_MEMORY: String(400 * MIB), DROVER_LEND_MEMORY: '10gb' })
  const gateway = await s.drover.gateway()
  expect((await s.record())?.lending?.devices[0]?.total).toBe(400 * MIB)
  // Nearly all of it is lent: the model waits, and whoever has borrowed hears that it is missed.
  const held = await ready(s, asking(390))
  const answer = ask(gateway.url, 'openai.chat', { key: 'x', model: 'small', fields: { max_tokens: 8 } }).told
  await until('it is missed', async () => (await s.borrower.loans.renew([held.loan]))[0]?.wanted === true)
  expect(s.lines('model started')).toEqual([])
  await held.release()
  expect(await answer).toMatchObject({ status: 200, ended: true, error: undefined })
  // While it is there, not all can be lent, whatever the ledger says.
  await until('less is free', async () => (await s.free())! < 390 * MIB)
  const late = await hold(s, asking(390))
  await until('that is answered', () => late.last()?.state === 'failed')
  expect(late.last()).toMatchObject({ reason: expect.stringContaining('of CPU were asked for') as string })
  await ready(s, asking(100))
})

/** A program in the place of the real one, which it starts at last. */
const inPlaceOf = async (script: string): Promise<{ program: string; folder: string }> => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-rpc-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const program = join(folder, 'rpc-server')
  await writeFile(program, `#!/bin/sh\nreal='${rpcServerPath()}'\nfolder='${folder}'\n${script}\nexec "$real" "$@"\n`)
  await chmod(program, 0o755)
  return { program, folder }
}

test.skipIf(skip)('a port that somebody else has taken at the last moment, be it with an rpc-server of his own, is not ours: another is taken', async () => {
  // At its first start somebody is there before it, says hello to all who ask, and is then looked for in vain.
  const { program, folder } = await inPlaceOf(`
if [ ! -e "$folder/other" ]; then
  "$real" "$@" >/dev/null 2>&1 </dev/null 3<&- & echo $! >"$folder/other"; echo "$@" >"$folder/first"
  sleep 0.3
fi`)
  const settings = { program, env: { PATH: process.env['PATH'] ?? '' } }
  const server = await startRpcServer({ address: '127.0.0.1', devices: ['CPU'] }, settings, AbortSignal.timeout(20_000))
  onTestFinished(() => server.kill())
  const other = Number(await readFile(join(folder, 'other'), 'utf8'))
  onTestFinished(() => void process.kill(other, 'SIGKILL'))
  expect(await readFile(join(folder, 'first'), 'utf8')).not.toContain(` ${server.port} `)
  await server.kill()
  await until('the process is gone', async () => (await leftOf(server)).length === 0)
})

/** Why a program is no rpc-server. */
const starting = async (script: string) => {
  const { program, folder } = await inPlaceOf(script)
  const settings = { program, env: { PATH: process.env['PATH'] ?? '' } }
  const failure = await startRpcServer({ address: '127.0.0.1' }, settings, AbortSignal.timeout(1_000)).catch((error: Error) => error)
  await until('nothing is left', async () => (await running(folder)).length === 0)
  return failure
}

test.skipIf(skip)('an rpc-server that cannot be had is told with the reason, and leaves nothing behind', async () => {
  expect(await starting('echo "ggml_cuda: out of memory"; exit 3')).toMatchObject({ code: 'engine_failed', message: 'rpc-server ended by itself (exit code 3): ggml_cuda: out of memory' })
  expect(await starting('exec sleep 60')).toMatchObject({ name: 'TimeoutError' })
})

test.skipIf(skip)('a worker refuses to lend where it should not, or cannot, and says why', async () => {
  const drover = new Installation(redis.url, {}, redis.urlFor)
  onTestFinished(() => drover.stop())
  const refused = (env: Environment) => drover.refused('worker', { DROVER_NODE: 'x', DROVER_LEND: 'true', DROVER_RPC_SERVER: rpcServerPath() ?? '', ...env })
  expect(await refused({ DROVER_LEND_ADDRESS: '0.0.0.0' })).toMatchObject({ code: 2, said: expect.stringContaining('--lend-address 0.0.0.0 is not an address of a private network, and what is lent asks nobody for a password') as string })
  expect(await refused({ DROVER_LEND_ADDRESS: '8.8.8.8' })).toMatchObject({ code: 2, said: expect.stringContaining('--lend-address 8.8.8.8 is not an address of a private network') as string })
  expect(await refused({ DROVER_LEND_ADDRESS: '10.255.254.253' })).toMatchObject({ code: 2, said: expect.stringContaining('is not an address of this machine') as string })
  expect(await refused({ DROVER_LEND_DEVICE: 'CUDA77' })).toMatchObject({ code: 2, said: expect.stringContaining('unknown device: CUDA77') as string })
  expect(await refused({ DROVER_LEND_PORTS: '5-4' })).toMatchObject({ code: 2, said: expect.stringContaining('expected first-last') as string })
  expect(await refused({ DROVER_RPC_SERVER: '/nowhere/rpc-server' })).toMatchObject({ code: 2, said: expect.stringContaining('correct DROVER_RPC_SERVER') as string })
})

test('a worker that is not told to lends nothing', async () => {
  const drover = new Installation(redis.url, {}, redis.urlFor)
  onTestFinished(() => drover.stop())
  await drover.worker('l', [])
  const borrower = await openWorker('c', { url: redis.urlFor?.('worker') ?? redis.url, prefix: drover.prefix, onError: () => undefined })
  onTestFinished(() => borrower.close())
  expect((await borrower.registry.nodes()).map(({ id, lending }) => ({ id, lending }))).toEqual([{ id: 'l', lending: undefined }])
  await expect(borrower.loans.borrow(asking(1))).rejects.toThrow('node l lends no memory of CPU')
})

test('a node’s own share of a model counts without a process, on a node that lends nothing, too, and no more is granted than there is', async () => {
  const drover = new Installation(redis.url, {}, redis.urlFor)
  onTestFinished(() => drover.stop())
  await drover.worker('l', [], { env: { DROVER_LLAMA_MEMORY: String(TOTAL) } })
  // Says so in the name of the worker, whose own coordinator would.
  const self = await openWorker('l', { url: redis.urlFor?.('worker') ?? redis.url, prefix: drover.prefix, onError: () => undefined })
  onTestFinished(() => self.close())
  const stateOf = async (loan: Loan) => (await self.loans.renew([loan]))[0]?.state
  const share = await self.loans.borrow(asking(600, { own: true }))
  await until('it is ready', async () => (await stateOf(share))?.state === 'ready')
  expect(await stateOf(share)).toEqual({ state: 'ready', port: 0 })
  const more = await self.loans.borrow(asking(600, { own: true }))
  await until('that is answered', async () => (await stateOf(more))?.state === 'failed')
  expect(await stateOf(more)).toEqual({ state: 'failed', reason: '0.6 GB of CPU were asked for, 0.4 GB are free now' })
  await self.loans.release([share])
  const again = await self.loans.borrow(asking(600, { own: true }))
  await until('it is ready', async () => (await stateOf(again))?.state === 'ready')
})
