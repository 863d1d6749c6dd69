import { expect, test } from 'vitest'
import { meets, type Requirements } from './requirements.ts'

const REQUIRED: readonly Requirements[] = [{}, { engine: 'ollama' }, { engine: 'llama-server' }, { layout: 'node' }, { layout: 'cluster' }, { engine: 'llama-server', layout: 'node' }, { engine: 'llama-server', layout: 'cluster' }]
const ollama = { kind: 'ollama' } as const
const node = { kind: 'llama-server', layout: 'node' } as const
const cluster = { kind: 'llama-server', layout: 'cluster' } as const

test.for([
  ['an Ollama', ollama, {}, [1, 1, 0, 1, 0, 0, 0]],
  ['a node', node, {}, [1, 0, 1, 1, 0, 1, 0]],
  ['a cluster', cluster, {}, [1, 0, 1, 0, 1, 0, 1]],
  ['an Ollama that others run it better than', ollama, { onlyAsked: true }, [0, 0, 0, 1, 0, 0, 0]],
  ['a cluster that a node runs it better than', cluster, { onlyAsked: true }, [0, 0, 0, 0, 1, 0, 1]],
] as const)('%s answers what asks for it, and what asks for nothing unless it is only for those who ask', ([, engine, held, expected]) => {
  expect(REQUIRED.map((required) => Number(meets(engine, held, required)))).toEqual(expected)
})
