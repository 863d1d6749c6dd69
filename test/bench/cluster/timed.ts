import { Agent, request } from 'undici'
import { eventReader, PATHS, readEvent } from '../../campaign/formats.ts'
import { bodyFor } from '../../cluster/stage.ts'

/** One connection for each answer: a llama-server closes it behind every stream. */
const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connections: null, pipelining: 0 })

export interface Timed {
  text: string
  /** From the request to the first text, ms. */
  firstMs: number
  /** From the first text to the last, tokens a second. */
  tokensPerSecond: number
}

/** Asks for so many tokens, streamed, at temperature 0. @throws Error when the answer does not end well, or has fewer */
export const timedAnswer = async (url: string, model: string, prompt: string, tokens: number): Promise<Timed> => {
  const dialect = 'openai.chat'
  const begun = performance.now()
  const response = await request(url + PATHS[dialect], {
    method: 'POST', body: bodyFor(model, dialect, prompt, tokens), headers: { 'content-type': 'application/json' }, dispatcher: agent,
  })
  let [text, events, ended, first, last] = ['', 0, false, 0, 0]
  let failed: string | undefined
  const take = eventReader(dialect, (data) => {
    const said = readEvent(dialect, data)
    ended ||= said.ends
    failed ??= said.error
    if (said.text === '') return
    last = performance.now()
    if (events === 0) first = last
    events += 1
    text += said.text
  })
  response.body.setEncoding('utf8')
  for await (const chunk of response.body as AsyncIterable<string>) take(chunk)
  if (!ended || events !== tokens) throw new Error(`${url} gave ${events} of ${tokens} tokens, status ${response.statusCode}${failed === undefined ? '' : `: ${failed}`}`)
  return { text, firstMs: first - begun, tokensPerSecond: (1_000 * (tokens - 1)) / (last - first) }
}
