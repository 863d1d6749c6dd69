import { BrokerError } from '@drover/core'
import type { Choice } from './collect.ts'
import { isFilled, type Delta, type ToolPiece } from './delta.ts'

/** What of one choice has not been met again. */
interface Rest {
  text: string
  thinking: string
  tools: Map<number, { name: string; arguments: string }>
}

const diverged = () => new BrokerError('node_lost', 'the node that was answering has gone, and another one does not say the same again')

/** What of `said` goes beyond `rest`, and what is left of `rest`. @throws BrokerError `node_lost` unless one begins with the other */
const beyond = (rest: string, said: string): { rest: string; fresh: string } => {
  if (rest.startsWith(said)) return { rest: rest.slice(said.length), fresh: '' }
  if (said.startsWith(rest)) return { rest: '', fresh: said.slice(rest.length) }
  throw diverged()
}

/** Compares an answer that is made once more with what was sent of it, and lets the rest pass. */
export class Replay {
  readonly #choices: ReadonlyMap<number, Rest>

  constructor(choices: readonly (readonly [number, Choice])[]) {
    this.#choices = new Map(
      choices.map(([index, { text, thinking, tools }]) => [
        index,
        { text, thinking, tools: new Map([...tools.pieces()].map(([at, { name, arguments: given }]) => [at, { name, arguments: given }])) },
      ]),
    )
  }

  /**
   * What of a delta is new; `undefined`: nothing.
   * @throws BrokerError `node_lost` when it is not what was sent
   */
  pass(delta: Delta): Delta | undefined {
    const rest = this.#choices.get(delta.choice)
    if (!rest) return delta
    const { text, thinking, tools, logprobs, ...others } = delta
    const fresh: Delta = { ...others }
    if (thinking !== undefined) {
      const found = beyond(rest.thinking, thinking)
      rest.thinking = found.rest
      if (found.fresh) fresh.thinking = found.fresh
    }
    if (text !== undefined) {
      const found = beyond(rest.text, text)
      rest.text = found.rest
      if (found.fresh) fresh.text = found.fresh
    }
    const pieces = tools?.flatMap((piece) => this.#piece(rest, piece))
    if (isFilled(pieces)) fresh.tools = pieces as ToolPiece[]
    const says = fresh.text !== undefined || fresh.thinking !== undefined || fresh.tools !== undefined
    if (logprobs && says) {
      // Those of a token that was sent in part would tell of all of it.
      if (fresh.text !== text || fresh.thinking !== thinking) throw diverged()
      fresh.logprobs = logprobs
    }
    if ((says || fresh.finish) && this.#left(rest)) throw diverged()
    return says || fresh.finish || fresh.usage || fresh.timings ? fresh : undefined
  }

  #piece({ tools }: Rest, piece: ToolPiece): ToolPiece[] {
    const known = tools.get(piece.index)
    if (!known) return [piece]
    if (piece.name !== undefined && piece.name !== known.name) throw diverged()
    const found = beyond(known.arguments, piece.arguments ?? '')
    known.arguments = found.rest
    // Who calls is known to the client: the id is the one that it was told.
    return found.fresh ? [{ index: piece.index, arguments: found.fresh }] : []
  }

  #left({ text, thinking, tools }: Rest): boolean {
    return text !== '' || thinking !== '' || [...tools.values()].some((call) => call.arguments !== '')
  }
}
