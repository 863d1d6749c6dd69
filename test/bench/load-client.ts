import { fileURLToPath } from 'node:url'
import type { Aim, ClientOrder, ClientWord, Load, TurnResult } from './load.ts'
import { startPart, type Part } from './part.ts'

export interface LoadClient {
  part: Part
  turn(load: Load, aim: Aim, onWindow: (edge: 'begin' | 'end') => void): Promise<TurnResult>
  /** Resolves when every answer has its first token; they stay open until `drop`. */
  hold(load: Load, aim: Aim): Promise<TurnResult>
  /** Closes every connection. */
  drop(): Promise<void>
}

const MOST_MS = 180_000

export const startLoadClient = (): LoadClient => {
  const part = startPart('client', fileURLToPath(new URL('client/main.ts', import.meta.url)))
  const ask = async (order: ClientOrder, onWindow: (edge: 'begin' | 'end') => void = () => undefined): Promise<TurnResult> => {
    const word = part.word((message) => {
      const said = message as ClientWord
      if ('window' in said) return void onWindow(said.window)
      return said
    }, MOST_MS)
    part.child.send(order)
    const said = await word
    if ('failed' in said) throw new Error(`the load client failed: ${said.failed}`)
    return said.done
  }
  return {
    part,
    turn: (load, aim, onWindow) => ask({ turn: load, aim }, onWindow),
    hold: (load, aim) => ask({ hold: load, aim }),
    drop: async () => void (await ask({ drop: true })),
  }
}
