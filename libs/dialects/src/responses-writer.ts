import { isObject, type BodyWriter, type Delta, type EventWriter, type JsonObject } from './delta.ts'
import { ResponsesAnswer } from './responses-answer.ts'
import { isBackground } from './responses-object.ts'
import { TOLD_BEFORE } from './responses-stored.ts'
import type { GenerationRequest } from './route.ts'

/** Writes a stream of typed, numbered events from what an engine said in another API. */
export class ResponsesWriter implements EventWriter {
  readonly #answer: ResponsesAnswer
  #out = ''
  #number: number

  constructor(request: GenerationRequest) {
    this.#number = isBackground(request) ? TOLD_BEFORE : 0
    this.#answer = new ResponsesAnswer(request, (type, said) => {
      this.#out += `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: this.#number++, ...said })}\n\n`
    })
  }

  write(delta: Delta): string {
    this.#answer.add(delta)
    return this.#told()
  }

  written(delta: Delta): void {
    this.write(delta)
  }

  end(): string {
    this.#answer.end()
    return this.#told()
  }

  #told(): string {
    const out = this.#out
    this.#out = ''
    return out
  }
}

/** The whole answer as one body. Where the engine speaks this API, it is the answer that its own last event has. */
export const responsesBody = (request: GenerationRequest): BodyWriter => {
  const answer = new ResponsesAnswer(request, () => undefined)
  let own: JsonObject | undefined
  return {
    take(deltas, event) {
      if (!event) for (const delta of deltas) answer.add(delta)
      else if (isObject(event['response'])) own = event['response']
    },
    end: () => JSON.stringify(own ? { ...own, model: request.asked } : answer.end()),
  }
}
