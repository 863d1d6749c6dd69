import { BrokerError } from '@drover/core'
import type { Exchange, ExchangeRequest } from './dialect.ts'
import { JSON_TYPE } from './engine-side.ts'
import { loadBody } from './ollama-events.ts'
import { loadRequest } from './ollama-request.ts'
import { rewritten } from './rewritten.ts'
import { routeOf } from './route.ts'
import { untouchedStream } from './untouched.ts'

/** The answer to a load or unload on an engine that has its one model in memory all the time. */
const alreadyLoaded = (body: string): Exchange => ({
  call: undefined,
  contentType: JSON_TYPE,
  usage: undefined,
  ended: true,
  push: () => '',
  finish: () => body,
  refusal: (status) => new BrokerError('internal', `no engine was called, yet one answered with status ${status}`),
})

/**
 * One call of an engine that answers a client's request.
 * @throws BrokerError `engine_refused` for a request that this engine cannot be asked
 */
export const exchange = (request: ExchangeRequest): Exchange => {
  const { dialect, body, engine, stream } = request
  const kind = dialect === 'ollama.chat' ? 'chat' : 'generate'
  const load = dialect === 'openai.chat' ? undefined : loadRequest(kind, body)
  if (load && !engine.speaks.includes(dialect)) return alreadyLoaded(loadBody(kind, request, load))
  const route = routeOf(request)
  if (stream && !load && route.streamed && route.format === dialect) return untouchedStream(request, route)
  // The answer to a load is one object, whatever the client said about streams.
  return rewritten(request, route, stream && !load)
}
