import { statfs } from 'node:fs/promises'
import type { WorkerConnection } from '@drover/broker'
import { BrokerError, canBring, holdsItself, isOnHub, type CopyPlace, type ModelName, type NodeRecord } from '@drover/core'
import { workFailure, type Progress } from '@drover/dialects'
import { GgufFolder, OllamaFolder, type Engine, type HubOptions } from '@drover/engines'
import { EXIT, ExitError, type Log } from '@drover/service'
import { BlobIntake } from './blob-intake.ts'
import { bring, bringFromHub, type Destination, type Peer, type ToMake } from './bring.ts'
import { startCopyServer, type CopyServer } from './copy-server.ts'
import type { EngineSeat } from './engine-seat.ts'
import { FilesHere } from './files-here.ts'

/** How often the room on the disk is looked at, ms. */
const DISK_MS = 10_000
/** How often what has not become whole is looked for, ms. */
const SWEEP_MS = 3_600_000
/** What is told of it in steps: not each block that somebody else takes is news. */
const STEP = 1024 ** 3

export interface CopiesOptions {
  node: string
  connection: Pick<WorkerConnection, 'registry' | 'tickets'>
  seats(): Iterable<EngineSeat>
  /** The engine that runs the models of the folder; absent: none does. */
  own(): Engine | undefined
  /** Whether an engine runs on this machine, so that its files are here. */
  isLocal(engine: Engine): boolean
  stores: readonly string[]
  folder: string | undefined
  address: string
  port: number
  rate: number | undefined
  /** Where models on Hugging Face's hub come from. */
  hub: Pick<HubOptions, 'endpoint' | 'token'>
  log: Log
  onChange(): void
  onError(error: unknown): void
}

/** An engine that is to get the model, and how its files come to it. */
interface Target {
  engine: Engine
  to: Destination
}

/** What a copy was for: the engine that has the model now, or that is yet to make it of the files. */
export interface Brought {
  engine: Engine
  /** Where it came from, in words. */
  from: string
  make?: ToMake
}

/** Files of models between this node and others: it hands out its own, and gets what it is to have. */
export class Copies {
  #options: CopiesOptions
  #server: CopyServer | undefined
  #into: CopyPlace[] = []
  #disk: number | undefined
  #timer: NodeJS.Timeout | undefined
  #sweptAt = -Infinity

  constructor(options: CopiesOptions) {
    this.#options = options
  }

  /** From now on others can copy from here. @throws ExitError when it cannot listen */
  async start(): Promise<void> {
    const { node, address, port, rate, seats, stores, folder, connection, log, onError } = this.#options
    this.#server = await startCopyServer({ node, address, port, rate, files: new FilesHere({ seats, stores, folder }), intake: new BlobIntake(seats), tickets: connection.tickets, onError }).catch((error: NodeJS.ErrnoException) => {
      throw new ExitError(`model files cannot be handed out at ${address}:${port} (${error.code ?? error.message}): correct --copy-address or --copy-port`, EXIT.failed, { cause: error })
    })
    log.info({ address, port: this.#server.port }, 'hands out model files')
    await this.look()
    this.#timer = setInterval(() => void this.look().catch(onError), DISK_MS).unref()
    this.#options.onChange()
  }

  /** Where could a copy be put now, and how much room is there? */
  async look(): Promise<void> {
    const { seats, own } = this.#options
    const targets = await Promise.all([...seats()].filter(({ engine }) => engine.kind === 'ollama' || engine === own()).map((seat) => this.#destinationOf(seat)))
    const into = [...new Set(targets.flatMap((to) => (to ? [to.kind] : [])))].toSorted()
    const first = targets.find((to) => to?.kind === 'ollama') ?? targets.find((to) => to !== undefined)
    if (performance.now() - this.#sweptAt > SWEEP_MS) {
      this.#sweptAt = performance.now()
      for (const to of targets) await (to?.kind === 'ollama' ? to.store : to?.folder)?.sweep()
    }
    const disk = first && (await freeAt(first.kind === 'ollama' ? first.store.root : first.folder.root))
    if (into.join() === this.#into.join() && disk === this.#disk) return
    this.#into = into
    this.#disk = disk
    this.#options.onChange()
  }

  record(): Pick<NodeRecord, 'copies' | 'disk'> {
    if (!this.#server) return {}
    return { copies: { address: this.#options.address, port: this.#server.port, into: this.#into }, ...(this.#disk !== undefined && { disk: this.#disk }) }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#server?.close()
    this.#server = undefined
  }

  /**
   * Brings a model from the first node that sends it.
   * @param from that node alone; else any that holds it
   * @returns `undefined`: nobody has it, or there is no place here to put it, unless it `must` be had
   * @throws BrokerError of the last try, `engine_refused` for what must be had and cannot; the signal's reason when that ends it
   */
  async bring(model: ModelName, { from, must, signal, onProgress }: { from?: string; must: boolean; signal: AbortSignal; onProgress(progress: Progress): void }): Promise<Brought | undefined> {
    const { node, connection, log } = this.#options
    const nodes = await connection.registry.nodes()
    const peers = peersIn(nodes.filter(({ id }) => id !== node && (from === undefined || id === from)), model)
    const target = peers.length === 0 ? undefined : await this.#target(model)
    if (!target) {
      if (!must) return undefined
      if (peers.length > 0) throw workFailure(`node ${node} has no folder of models that it may write to`)
      if (from === undefined) throw workFailure(`no other node holds ${model} and hands out its files`)
      throw workFailure(nodes.some(({ id }) => id === from) ? `node ${from} does not hold ${model}, or hands out no files` : `node ${from} is not there`)
    }
    const tickets = await connection.tickets()
    for (const [i, peer] of peers.entries()) {
      const startedAt = performance.now()
      try {
        const { bytes, make } = await bring({ peer, model, to: target.to, tickets, signal, onProgress })
        log.info({ model, from: peer.node, bytes, ms: Math.round(performance.now() - startedAt) }, 'model copied')
        return { engine: target.engine, from: `node ${peer.node}`, ...(make && { make }) }
      } catch (error) {
        signal.throwIfAborted()
        log.warn({ model, from: peer.node, reason: error instanceof Error ? error.message : undefined }, 'model not copied')
        const isOurs = error instanceof BrokerError && error.code === 'engine_refused'
        if (isOurs || i === peers.length - 1) throw error
      }
    }
    return undefined
  }

  /**
   * Brings a model of the hub into the models folder, where no Ollama of this node could pull it.
   * @param name as it was asked for: the hub tells letters apart
   * @returns `undefined`: it is no model of the hub, or it is not for the folder
   * @throws BrokerError as `bringFromHub`
   */
  async bringFromHub(name: string, model: ModelName, { signal, onProgress }: { signal: AbortSignal; onProgress(progress: Progress): void }): Promise<Brought | undefined> {
    const { hub, log } = this.#options
    const target = isOnHub(model) ? await this.#target(model) : undefined
    if (target?.to.kind !== 'folder') return undefined
    const startedAt = performance.now()
    const bytes = await bringFromHub(name, model, target.to.folder, { ...hub, signal, onProgress })
    log.info({ model, from: hub.endpoint, bytes, ms: Math.round(performance.now() - startedAt) }, 'model copied')
    return { engine: target.engine, from: hub.endpoint }
  }

  /** An Ollama before the models folder: it can be asked for everything. */
  async #target(model: ModelName): Promise<Target | undefined> {
    const { seats, own } = this.#options
    const all = [...seats()]
    for (const seat of [...all.filter(({ engine }) => canBring(engine, model)), ...all.filter(({ engine }) => engine === own())]) {
      const to = await this.#destinationOf(seat)
      if (to) return { engine: seat.engine, to }
    }
    return undefined
  }

  async #destinationOf({ engine, view }: EngineSeat): Promise<Destination | undefined> {
    const { own, isLocal, stores, folder: root } = this.#options
    if (engine === own()) {
      if (root === undefined) return undefined
      const folder = new GgufFolder(root)
      return (await folder.isWritable()) ? { kind: 'folder', folder } : undefined
    }
    if (engine.kind !== 'ollama' || !isLocal(engine)) return undefined
    for (const each of stores) {
      const store = new OllamaFolder(each)
      if (await isOf(store, view.held.map(({ model }) => model))) return { kind: 'ollama', store }
    }
    return undefined
  }
}

const freeAt = async (folder: string): Promise<number | undefined> => {
  const found = await statfs(folder).catch(() => undefined)
  return found && Math.floor((found.bavail * found.bsize) / STEP) * STEP
}

/** Whether a folder is the one from which an Ollama has its models: it holds what that one holds, and is not another's with that one empty. */
const isOf = async (store: OllamaFolder, held: readonly ModelName[]): Promise<boolean> => {
  if (!(await store.isWritable())) return false
  const models = await store.models()
  return held.length === 0 ? models.size === 0 : held.every((model) => models.has(model))
}

/** Nodes that hold a model and hand out files, the newest copy first. */
const peersIn = (nodes: readonly NodeRecord[], model: ModelName): Peer[] =>
  nodes
    .flatMap(({ id, copies, engines, preference }) => {
      const held = engines.filter((engine) => holdsItself(engine, model)).flatMap((engine) => engine.held.filter((each) => each.model === model))
      const newest = held.map(({ modifiedAt }) => Date.parse(modifiedAt) || 0)
      return copies && held.length > 0 ? [{ peer: { node: id, address: copies.address, port: copies.port }, preference, at: Math.max(...newest) }] : []
    })
    .toSorted((a, b) => b.at - a.at || b.preference - a.preference)
    .map(({ peer }) => peer)
