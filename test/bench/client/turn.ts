import { modelName, type Aim, type Load, type TurnResult } from '../load.ts'
import { Samples } from '../samples.ts'
import { Answer } from './answer.ts'
import type { Connections } from './connection.ts'

/** Answers that have not ended this long after they should have count as wrong, ms. */
const GRACE_MS = 20_000
const FAULTS = 5

/** This process' monotonic clock is the machine's, less this. The largest of several: a pause between the two readings makes it less. */
const ORIGIN = Math.max(...Array.from({ length: 20 }, () => Number(process.hrtime.bigint()) / 1e6 - performance.now()))

let asked = 0

const requestFor = (host: string, key: string, model: string, { tokens, rate, stream }: Load): string => {
  const content = `job=${key} tokens=${tokens}${rate > 0 ? ` rate=${rate}` : ''}`
  const body = `{"model":"${model}","stream":${stream},"messages":[{"role":"user","content":"${content}"}]}`
  return `POST /api/chat HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

export interface Ask {
  load: Load
  aim: Aim
  connections: Connections
  slot: number
}

/** Sends one request; answers with the moment at which it was written. */
export const askOne = ({ load, aim, connections, slot }: Ask, listener: ConstructorParameters<typeof Answer>[1]): number => {
  const key = `b${process.pid.toString(36)}-${(asked++).toString(36)}`
  const model = modelName(slot % load.models)
  const request = requestFor(connections.host, key, model, load)
  const answer = new Answer({ key, model, tokens: load.tokens, stream: load.stream, toEpoch: ORIGIN + aim.engineEpoch }, listener)
  const now = performance.now()
  connections.ask(request, answer)
  return now
}

/** One turn of a load. Always resolves: what goes wrong is counted. */
export const runTurn = (load: Load, aim: Aim, connections: Connections, onWindow: (edge: 'begin' | 'end') => void): Promise<TurnResult> => {
  const { promise, resolve } = Promise.withResolvers<TurnResult>()
  const firstToken = new Samples()
  const delays = new Samples()
  const faults: string[] = []
  const count = { tokens: 0, allTokens: 0, answers: 0, allAnswers: 0, wrong: 0 }
  const began = performance.now()
  let from = Infinity
  let to = Infinity
  let open = 0
  let waiting = 0
  let over = false

  const finish = () => {
    if (over) return
    over = true
    clearTimeout(deadline)
    if (open > 0) {
      count.wrong += open
      faults.push(`${open} answers did not end in ${GRACE_MS} ms`)
      connections.close()
    }
    resolve({ ...count, firstToken: firstToken.summary(), delay: delays.summary(), windowMs: to - from, faults: faults.slice(0, FAULTS) })
  }

  const start = (slot: number) => {
    waiting -= 1
    const now = performance.now()
    if (now >= to) {
      if (open === 0 && waiting === 0) finish()
      return
    }
    open += 1
    let first = true
    const sent = askOne({ load, aim, connections, slot }, {
      token(at, delay) {
        count.allTokens += 1
        if (first) {
          first = false
          if (sent >= from && sent < to) firstToken.add(at - sent)
        }
        if (at < from || at >= to) return
        count.tokens += 1
        if (delay !== undefined) delays.add(delay)
      },
      over(at, fault) {
        open -= 1
        count.allAnswers += 1
        if (at >= from && at < to) count.answers += 1
        if (fault !== undefined) {
          count.wrong += 1
          faults.push(fault)
        }
        if (over) return
        if (load.cycleMs === 'once' || at >= to) {
          if (open === 0 && waiting === 0 && at >= to) finish()
          return
        }
        waiting += 1
        const due = load.cycleMs === 0 ? 0 : sent + load.cycleMs + Math.random() * load.jitterMs - at
        // At once would be inside the read that has just ended the last answer.
        if (due <= 0) setImmediate(start, slot)
        else setTimeout(start, due, slot)
      },
    })
  }

  for (let i = 0; i < load.streams; i += 1) {
    waiting += 1
    const due = (load.spreadMs * i) / load.streams
    setTimeout(start, due, i)
  }
  setTimeout(() => {
    from = performance.now()
    onWindow('begin')
    setTimeout(() => {
      to = performance.now()
      onWindow('end')
      if (open === 0 && waiting === 0) finish()
    }, load.windowMs)
  }, load.rampMs - (performance.now() - began))
  const deadline = setTimeout(finish, load.rampMs + load.windowMs + GRACE_MS)
  return promise
}

/** Opens all answers of a load and resolves when each has its first token; they stay open until the connections are closed. */
export const hold = (load: Load, aim: Aim, connections: Connections): Promise<TurnResult> =>
  new Promise((resolve, reject) => {
    let begun = 0
    const firstToken = new Samples()
    const late = setTimeout(() => reject(new Error(`only ${begun} of ${load.streams} answers began`)), load.spreadMs + GRACE_MS)
    const start = (slot: number) => {
      let first = true
      const sent = askOne({ load, aim, connections, slot }, {
        token(at) {
          if (!first) return
          first = false
          begun += 1
          firstToken.add(at - sent)
          if (begun < load.streams) return
          clearTimeout(late)
          const none = { count: 0, p50: 0, p99: 0, max: 0 }
          const nothing = { tokens: 0, allTokens: 0, answers: 0, allAnswers: 0, wrong: 0, windowMs: 0, faults: [] }
          resolve({ ...nothing, firstToken: firstToken.summary(), delay: none })
        },
        over: (_at, fault) => reject(new Error(`an answer that was to stay open has ended: ${fault ?? 'properly'}`)),
      })
    }
    for (let i = 0; i < load.streams; i += 1) setTimeout(start, (load.spreadMs * i) / load.streams, i)
  })
