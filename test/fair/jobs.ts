import { openGateway, type GatewayConnection, type Submission } from '@drover/broker'
import { LOCAL, type JobId, type ModelName, type Owner, type TerminalRecord } from '@drover/core'
import { verifyText } from '../engine/tokens.ts'
import type { Installation } from '../support/drover.ts'
import type { RedisServer } from '../support/redis-server.ts'

/** A job that a test has submitted, as its followers see it. */
export interface Submitted {
  id: JobId
  key: string
  /** Rejects when it is lost. */
  ended: Promise<TerminalRecord>
  /** Attempts that have said something. */
  attempts: Set<number>
  /** Ends that it was told. */
  ends: number
  /** Resolves when so many tokens of a streamed answer have been read. */
  said(characters: number): Promise<void>
  /** Whether what was answered is exactly the job's own tokens. */
  whole(tokens: number): boolean
}

export interface Wanted extends Partial<Pick<Submission, 'owner' | 'class' | 'priority' | 'tokens' | 'background' | 'stream'>> {
  key: string
  model?: string
  /** Anything of `script.ts`. */
  script?: Record<string, number | string>
}

/** Submits jobs as a gateway does, without one: of any owner and class. */
export const submitter = async (redis: RedisServer, drover: Installation) => {
  const broker: GatewayConnection = await openGateway('test', { url: redis.urlFor?.('gateway') ?? redis.url, prefix: drover.prefix, laneLimit: 10_000, onError: () => undefined })
  /** Keys of the jobs in the order in which they have ended. */
  const order: string[] = []

  const submit = async ({ key, model = 'scripted:latest', script = {}, stream = false, owner = LOCAL, class: jobClass = 'interactive', ...rest }: Wanted): Promise<Submitted> => {
    const ended = Promise.withResolvers<TerminalRecord>()
    ended.promise.catch(() => undefined)
    let text = ''
    const readers = new Set<() => void>()
    const job: Submitted = {
      id: '' as JobId, key, ended: ended.promise, attempts: new Set(), ends: 0,
      said: (characters) =>
        new Promise((resolve) => {
          const look = () => text.length >= characters && (readers.delete(look), resolve())
          readers.add(look)
          look()
        }),
      whole: (tokens) => {
        const said = text.split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { response: string }).response).join('')
        const verdict = verifyText(key, said)
        return verdict.ok && verdict.count === tokens
      },
    }
    const prompt = `job=${key} ${Object.entries(script).map(([name, value]) => `${name}=${value}`).join(' ')}`
    await broker.jobs.submit(
      { dialect: 'ollama.generate', model: model as ModelName, asked: model, class: jobClass, owner, stream, slots: 1, body: JSON.stringify({ model, prompt, stream }), timeoutMs: 600_000, ...rest },
      {
        frame(frame, attempt) {
          job.attempts.add(attempt)
          if (frame.reset) text = ''
          text += frame.text ?? ''
          for (const look of readers) look()
          if (!frame.end) return
          job.ends += 1
          order.push(key)
          ended.resolve(frame.end)
        },
        lost: ended.reject,
      },
      (id) => (job.id = id),
    )
    return job
  }
  return { broker, submit, order, owner: (name: string) => name as Owner, close: () => broker.close() }
}
