import { fileURLToPath } from 'node:url'
import { ollamaTurn, openAiTurn, startCannedEngine, type CannedEngine, type Turn } from './canned-engine.ts'
import { startLlamaServer } from './llama-server.ts'
import { test as world } from './world.ts'

export const KINDS = ['ollama', 'llama-server'] as const
export type Kind = (typeof KINDS)[number]
/** The model of the scripted engine of each kind. */
export const MODELS = { ollama: 'native:8b', 'llama-server': 'other:latest' } as const satisfies Record<Kind, string>
/** The model of the engine of each kind that says what a test puts in its mouth. */
export const CANNED = { ollama: 'canned:native', 'llama-server': 'canned:other' } as const satisfies Record<Kind, string>
/** Engines that a client sees fail in the middle of an answer, each with a model of its own. */
export const FAULTS = KINDS.flatMap((kind) => (['error_at', 'cut_at', 'eof_at'] as const).map((fault) => ({ kind, fault, model: `${kind}-${fault}` })))
const REAL = fileURLToPath(new URL('../../deploy/model/drover-small.gguf', import.meta.url))

/** Where the engines of a kind are asked, and how they say a turn. */
export const TURNS: Record<Kind, { path: string; turn: (turn: Turn) => object[] }> = {
  ollama: { path: '/api/chat', turn: ollamaTurn },
  'llama-server': { path: '/v1/chat/completions', turn: openAiTurn },
}
/** What the next answers of an engine will say. */
export const says = (canned: Record<Kind, CannedEngine>, kind: Kind, turn: Turn) =>
  canned[kind].answers(TURNS[kind].path, { answer: TURNS[kind].turn(turn) })

/** `canned`: an engine of each kind that says what a test puts in its mouth. */
export const withCanned = world.extend('canned', { scope: 'file' }, async ({ settings: _settings }, { onCleanup }) => {
  const started = {} as Record<Kind, CannedEngine>
  for (const kind of KINDS) started[kind] = await startCannedEngine(kind, CANNED[kind])
  onCleanup(async () => void (await Promise.all(Object.values(started).map((engine) => engine.close()))))
  return started
})

/** `site`: the address of a gateway over all of these engines; `real`: the same with a real llama-server beside them (`drover-small`). */
export const test = withCanned
  .extend('site', { scope: 'file' }, async ({ house, engines, canned }) => {
    const started = await Promise.all([
      engines({ kind: 'ollama', models: [MODELS.ollama] }),
      engines({ kind: 'llama-server', models: ['other'] }),
      // An engine that failed leaves its model alone for a while, so each fault has an engine of its own.
      ...FAULTS.map(({ kind, model }) => engines({ kind, models: [model] })),
      ...KINDS.map((kind) => canned[kind]),
    ])
    // A broken answer would go on, and no client would see how it breaks.
    const gateway = await house.gateway({ DROVER_RESUME: 'false' })
    await house.worker('n1', started.map(({ url }) => url), { gateway })
    return gateway.url
  })
  .extend('real', { scope: 'file' }, async ({ house, site }, { onCleanup }) => {
    const server = await startLlamaServer({ model: REAL, alias: 'drover-small', slots: 2, extraArgs: ['--embeddings', '--pooling', 'mean'] })
    onCleanup(() => server.stop())
    await house.worker('n2', [server.url], { gateway: { url: site } })
    return site
  })
