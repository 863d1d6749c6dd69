import type { Summary } from './load.ts'
import type { Stage } from './stage.ts'

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** One value from process to process through Redis, LPUSH to BRPOP, every 2 ms: what any hop through Redis costs here. */
export const measureHandOff = async ({ redis, part }: Stage, { warmMs, windowMs }: { warmMs: number; windowMs: number }): Promise<Summary> => {
  const { connection } = redis
  const path = 'path' in connection ? connection.path : String(connection.port)
  const pop = part('hand-off pop', 'floors.ts', ['pop', path, 'hand-off'])
  const push = part('hand-off push', 'floors.ts', ['push', path, 'hand-off'])
  const take = () => {
    const word = pop.word((message) => (message as { handOff?: Summary }).handOff)
    pop.child.send({})
    return word
  }
  try {
    await sleep(warmMs + 500)
    await take()
    await sleep(windowMs)
    return await take()
  } finally {
    await push.stop()
    await pop.stop()
  }
}
