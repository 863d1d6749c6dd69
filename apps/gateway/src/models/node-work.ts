import type { Follow, FrameSink, GatewayConnection } from '@drover/broker'
import { BrokerError, MODEL_WORK_OWNER, type Frame, type JobId, type ModelName, type ModelWork } from '@drover/core'
import { progressIn, type Progress } from '@drover/dialects'
import { errorOf } from '../reply.ts'

export interface NodeWorkOptions {
  node: string
  /** Of a job that others may have begun; absent: a new one. */
  id?: JobId | undefined
  work: ModelWork
  model: ModelName
  timeoutMs: number
  onProgress(progress: Progress): void
}

/** More work than that is not let wait on one node. */
const MOST_AHEAD = 1_000

/** One node's part of some work on a model: a job of that node's lane, followed. */
export class NodeWork implements FrameSink {
  /** Resolves when it is over: `undefined`: done; else why not. */
  readonly ended: Promise<BrokerError | undefined>
  /** The node has told something. */
  begun = false
  #end: (error: BrokerError | undefined) => void
  #onProgress: NodeWorkOptions['onProgress']
  #rest = ''
  #follow: Follow | undefined

  private constructor(onProgress: NodeWorkOptions['onProgress']) {
    const { promise, resolve } = Promise.withResolvers<BrokerError | undefined>()
    this.ended = promise
    this.#end = resolve
    this.#onProgress = onProgress
  }

  /** @throws BrokerError `queue_full`, `broker_unavailable`: then nothing was accepted */
  static async start({ jobs }: Pick<GatewayConnection, 'jobs'>, { node, id, work, model, timeoutMs, onProgress }: NodeWorkOptions): Promise<NodeWork> {
    const own = new NodeWork(onProgress)
    own.#follow = await jobs.submit(
      {
        ...(id !== undefined && { id }),
        node,
        owner: MODEL_WORK_OWNER,
        // In whose form somebody who looks the job up is told of it.
        dialect: 'ollama.generate',
        model,
        asked: model,
        class: 'interactive',
        stream: true,
        slots: 1,
        tokens: 1,
        mostAhead: MOST_AHEAD,
        body: JSON.stringify(work),
        timeoutMs,
      },
      own,
    )
    return own
  }

  frame({ text = '', head, end }: Frame): void {
    if (head || text !== '') this.begun = true
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    try {
      for (const line of lines) if (line !== '') this.#onProgress(progressIn(line))
    } catch (error) {
      this.#end(error as BrokerError)
      void this.leave()
    }
    if (end) this.#end(end.outcome === 'completed' ? undefined : errorOf(end))
  }

  lost(error: BrokerError): void {
    this.#end(error)
  }

  /** Nobody here waits for it any more: when nobody else does, its engine is stopped. */
  async leave(): Promise<void> {
    await this.#follow?.leave().catch(() => undefined)
  }
}
