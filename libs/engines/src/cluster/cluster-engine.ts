import { BrokerError } from '@drover/core'
import type { ModelName } from '@drover/core'
import type { AnswerSink } from '../engine.ts'
import { fileEngine } from '../supervised/file-engine.ts'
import type { FileEngine, FileEngineOptions } from '../supervised/file-engine.ts'
import { Pace } from './pace.ts'

export interface ClusterEngineOptions extends Omit<FileEngineOptions, 'id' | 'layout' | 'url'> {
  /** Whether a call would be of use now for a model that is not in memory, as far as memory goes. */
  mayStart(model: ModelName): boolean
  /** The model has said nothing for too long: what it runs on is not to be trusted any more. */
  onStalled(model: ModelName): void
}

export interface ClusterEngine extends FileEngine {
  /** Of the last answers, all slots together; `undefined`: none of late. */
  tokensPerSecond(model: ModelName): number | undefined
}

/** Models whose layers lie on several nodes, each run by a `llama-server` here that is started when somebody asks for it. */
export const clusterEngine = ({ mayStart, onStalled, ...options }: ClusterEngineOptions): ClusterEngine => {
  const files = fileEngine({ ...options, id: 'cluster', layout: 'cluster', url: 'cluster:' })
  const paces = new Map<string, Pace>()
  const paceOf = (model: string): Pace => {
    let pace = paces.get(model)
    if (!pace) paces.set(model, (pace = new Pace()))
    return pace
  }
  return {
    ...files,
    admits: (model) => files.admits(model) && mayStart(model),
    tokensPerSecond: (model) => paces.get(model)?.perSecond(performance.now()),
    post({ model = '', ...request }, sink) {
      const call = files.post({ model, ...request }, counted(sink, paceOf(model)))
      return {
        pause: () => call.pause(),
        resume: () => call.resume(),
        abort(reason) {
          if (reason instanceof BrokerError && reason.code === 'engine_stalled') onStalled(model as ModelName)
          call.abort(reason)
        },
      }
    },
  }
}

/** Each token of a streamed answer is an event of its own. */
const counted = (sink: AnswerSink, pace: Pace): AnswerSink => {
  let writing: ReturnType<Pace['begin']> | undefined
  const over = () => writing?.end(performance.now())
  return {
    ...(sink.loading && { loading: () => sink.loading?.() }),
    ...(sink.loaded && { loaded: () => sink.loaded?.() }),
    head: (status, contentType) => sink.head(status, contentType),
    text(chunk) {
      // The first is late by what was read of the prompt.
      if (writing) writing.token(chunk.split('\ndata:').length - 1 || 1)
      else writing = pace.begin(performance.now())
      sink.text(chunk)
    },
    end() {
      over()
      sink.end()
    },
    fail(error) {
      over()
      sink.fail(error)
    },
  }
}
