import { PROMPT_MS } from './http.ts'
import type { EngineHttp } from './http.ts'

/** Requests that ask for nothing: a server that was not started for such answers says so before it looks at them. */
const QUESTIONS = [
  { ability: 'rerank', path: '/v1/rerank' },
  { ability: 'embedding', path: '/v1/embeddings' },
]

const WRONG_REQUEST = 400
const NOT_STARTED_FOR_IT = 501

/**
 * What a llama-server was started for beside text: `embedding` or `rerank`. Its own documents do not tell (0.7.0), only how it refuses
 * a request. `undefined` while it does not say.
 */
export const llamaAbilities = async (http: EngineHttp, signal: AbortSignal): Promise<string[] | undefined> => {
  for (const { ability, path } of QUESTIONS) {
    const { status, json } = await http.ask({ path, body: '{}' }, signal, PROMPT_MS)
    // Vectors of single tokens, which is what it has without pooling, are no embedding of a text.
    if (status === WRONG_REQUEST) return JSON.stringify(json).includes("Pooling type 'none'") ? [] : [ability]
    if (status >= 500 && status !== NOT_STARTED_FOR_IT) return undefined
  }
  return []
}
