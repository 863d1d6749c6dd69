import { expect, test } from 'vitest'
import type { NodeStatus } from '../gateway-client.ts'
import { firstModel, nodeLines } from '../node-lines.ts'
import { welcome } from './welcome.ts'

const model = (name: string, more = {}) => ({ model: name, loaded: false, slots: 2, busy: 1, ...more })
const node = (models: NodeStatus['engines'][number]['models'], more = {}): NodeStatus => ({
  id: 'n1',
  draining: false,
  memory: { total: 2 ** 34, free: 2 ** 33 },
  gpus: [{ name: 'card', free: 2 ** 30 }],
  engines: [{ id: '127.0.0.1:11434', kind: 'ollama', version: '0.33.0', models }],
  ...more,
})

test('the greeting has the address, the models and a line that can be pasted', () => {
  const text = welcome({ url: 'http://127.0.0.1:1', keyed: false, worker: true, status: { nodes: [node([model('llama3.2:latest')])] } }).join('\n')
  expect(text).toContain('Drover is up at http://127.0.0.1:1')
  expect(text).toContain('ollama 0.33.0 at 127.0.0.1:11434: llama3.2:latest (1/2 busy)')
  const [, url, body] = /curl -N (\S+) -d '(.*)'/.exec(text) ?? []
  expect(url).toBe('http://127.0.0.1:1/api/chat')
  expect(JSON.parse(body ?? '')).toMatchObject({ model: 'llama3.2:latest', messages: [{ role: 'user' }] })
})

test('where a key is asked for the line takes it from the environment, and never shows it', () => {
  const text = welcome({ url: 'http://h:1', keyed: true, worker: true, status: { nodes: [node([model('m:latest')])] } }).join('\n')
  expect(text).toContain('-H "Authorization: Bearer $DROVER_API_KEY"')
})

test('without a model the greeting says how to get one', () => {
  expect(welcome({ url: 'http://h:1', keyed: false, worker: true, status: { nodes: [] } }).join()).toMatch(/No model yet.*ollama pull.*--engine/)
  expect(welcome({ url: 'http://h:1', keyed: false, worker: false, status: { nodes: [] } }).join()).toContain('drover worker')
})

test('the first model is one that writes text, rather one in memory, and not on a node that drains', () => {
  expect(firstModel([node([model('embed', { capabilities: ['embedding'] }), model('a')])])).toBe('a')
  expect(firstModel([node([model('a'), model('b', { loaded: true })])])).toBe('b')
  expect(firstModel([node([model('a')], { draining: true }), node([model('c')])])).toBe('c')
  expect(firstModel([])).toBeUndefined()
})

test('a node without engine or model is shown as such', () => {
  expect(nodeLines(node([], { draining: true }))).toEqual([
    'node n1 (draining): 8.0 of 16.0 GiB free, card 1.0 GiB free',
    '  ollama 0.33.0 at 127.0.0.1:11434: no models',
  ])
  expect(nodeLines(node([], { engines: [] }))).toContain('  no engine')
})

const own = { folder: '/data/models', args: [], spare: 'drover-small:latest' }

test('where the model that ships is the only one the greeting says what it is, how to get a real one, and asks what it can answer', () => {
  const text = welcome({ url: 'http://h:1', keyed: false, worker: true, status: { nodes: [node([model('drover-small:latest')])] }, own }).join('\n')
  expect(text).toMatch(/drover-small:latest is a tiny model .* for trying things out/)
  expect(text).toMatch(/Put a GGUF file into \/data\/models, or start Ollama/)
  expect(text).toContain('"content":"What is a lane?"')
})

test('beside another model nothing is said of the one that ships', () => {
  const both = node([model('drover-small:latest'), model('llama3.2:latest')])
  expect(welcome({ url: 'http://h:1', keyed: false, worker: true, status: { nodes: [both] }, own }).join('\n')).not.toContain('tiny')
})
