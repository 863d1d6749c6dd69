import type { ClientOrder, ClientWord } from '../load.ts'
import { Connections } from './connection.ts'
import { hold, runTurn } from './turn.ts'

/** The load client: a process of its own, so that nothing else of the benchmark runs in its event loop. */
const say = (word: ClientWord) => process.send?.(word)

let held: Connections | undefined
/** Kept from turn to turn; those of other servers rest meanwhile. */
const kept = new Map<string, Connections>()

const obey = async (order: ClientOrder) => {
  if ('drop' in order) {
    held?.close()
    held = undefined
    for (const connections of kept.values()) connections.close()
    kept.clear()
    const none = { count: 0, p50: 0, p99: 0, max: 0 }
    say({ done: { firstToken: none, delay: none, tokens: 0, allTokens: 0, answers: 0, allAnswers: 0, windowMs: 0, wrong: 0, faults: [] } })
  } else if ('hold' in order) {
    held = new Connections(order.aim.url)
    say({ done: await hold(order.hold, order.aim, held) })
  } else {
    let connections = kept.get(order.aim.url)
    if (!connections) kept.set(order.aim.url, (connections = new Connections(order.aim.url)))
    say({ done: await runTurn(order.turn, order.aim, connections, (window) => say({ window })) })
  }
}

process.on('message', (order: ClientOrder) => {
  obey(order).catch((error: unknown) => say({ failed: error instanceof Error ? error.message : String(error) }))
})
process.on('disconnect', () => process.exit(1))
