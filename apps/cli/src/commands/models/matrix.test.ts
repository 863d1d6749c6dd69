import { expect, test } from 'vitest'
import type { Tag } from '../../gateway-client.ts'
import type { Place } from '../places.ts'
import { matrixJson, matrixLines, tokens, type MatrixRow } from './matrix.ts'

const tag = (name: string): Tag => ({ name, modified_at: '', size: 4_700_000_000, digest: 'd', details: { quantization_level: 'Q4_K_M', context_length: 131_072 } })
const place = (node: string, loaded: boolean | number = false, engine = 'e'): Place => ({
  node, engine, kind: 'ollama', others: [], version: undefined,
  held: { model: 'm', loaded: loaded !== false, slots: 1, busy: 0, ...(typeof loaded === 'number' && { memory: { size: 1, size_vram: 0, context_length: loaded } }) },
})
const row = (name: string, ...places: Place[]): MatrixRow => ({ tag: tag(name), places })

const ROWS = [row('llama3:8b', place('n1', 8_192), place('n2')), row('qwen3:4b', place('n2', true), place('n3', false, 'a'), place('n3', 5_000, 'b')), row('rare:latest')]

test('a row for each model, a column for each node', () => {
  expect(matrixLines(ROWS, ['n1', 'n2', 'n3'], Infinity)).toEqual([
    'MODEL           SIZE   QUANT    CONTEXT   n1    n2   n3',
    'llama3:8b     4.7 GB   Q4_K_M      128k   ●8k   ○    -',
    'qwen3:4b      4.7 GB   Q4_K_M      128k   -     ●    ●5000',
    'rare:latest   4.7 GB   Q4_K_M      128k   -     -    -',
  ])
  expect(matrixLines([], ['n1'], 80)).toEqual(['MODEL   SIZE   QUANT   CONTEXT   n1'])
})

test('what has no room on a terminal is counted in the last column', () => {
  const nodes = Array.from({ length: 40 }, (_, i) => `node-with-a-name-${i}`)
  const rows = [row(`a/${'very-'.repeat(10)}long-name:latest`, ...nodes.map((node, i) => place(node, i % 2 === 0 ? 4_096 : false))), row('b:latest', place(nodes[39]!)), row('c:latest', place(nodes[0]!))]
  for (const width of [80, 100, 200]) {
    const lines = matrixLines(rows, nodes, width)
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(width)
    const shown = lines[0]!.split('node-with-a').length - 1
    expect(shown).toBe({ 80: 1, 100: 2, 200: 8 }[width])
    expect(lines[0]!.trimEnd()).toMatch(new RegExp(`   \\+${40 - shown}$`))
  }
  const [, a, b, c] = matrixLines(rows, nodes, 80)
  expect(a).toMatch(/^a\/very-.*… .* ●4k +19● 20○$/)
  expect(b).toMatch(/ - +1○$/)
  expect(c).toMatch(/ ○ +-$/)
  // Elsewhere nothing is cut.
  expect(matrixLines(rows, nodes, Infinity)[0]).toContain(nodes.join('   '))
})

test('a terminal that is far too narrow has one node still', () => {
  const [title = ''] = matrixLines(ROWS, ['n1', 'n2', 'n3'], 20)
  expect(title).toContain('n1')
  expect(title).toContain('+2')
})

test('programs are told each place', () => {
  expect(matrixJson(ROWS[1]!, 0)).toEqual({
    name: 'qwen3:4b', size: 4_700_000_000, quantization: 'Q4_K_M', context_length: 131_072,
    nodes: [
      { node: 'n2', engine: 'e', loaded: true, context_length: null, expires_at: null },
      { node: 'n3', engine: 'a', loaded: false, context_length: null, expires_at: null },
      { node: 'n3', engine: 'b', loaded: true, context_length: 5_000, expires_at: null },
    ],
  })
  expect([0, 512, 1_024, 131_072, 5_000].map(tokens)).toEqual(['0', '512', '1k', '128k', '5000'])
})
