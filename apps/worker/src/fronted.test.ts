import { describe, expect, test } from 'vitest'
import { ClusterHardware, frontedNodes, InferenceServers } from './fronted.ts'

const box = { url: 'http://10.0.0.5:11434', priority: 1, models: ['llama3.2', 'qwen3:8b'] }
const wrong = (schema: { safeParse(value: unknown): { error?: { issues: { message: string }[] } } }, value: unknown) =>
  schema.safeParse(value).error?.issues.map(({ message }) => message).join('; ')

describe('CLUSTER_HARDWARE', () => {
  test('is read as text and as an object', () => {
    const expected = [{ id: 'h100', priority: 1, engine: { url: 'http://10.0.0.5:11434', models: ['llama3.2:latest', 'qwen3:8b'] } }]
    expect(ClusterHardware.parse(JSON.stringify({ h100: box }))).toEqual(expected)
    expect(ClusterHardware.parse({ h100: box })).toEqual(expected)
  })

  test('without models all are allowed, without a priority it is 0', () => {
    expect(ClusterHardware.parse('{"old kepler":{"url":"kepler:11434","models":[]}}')).toEqual([
      { id: 'old-kepler', priority: 0, engine: { url: 'http://kepler:11434' } },
    ])
  })

  test('what is wrong is named', () => {
    expect(wrong(ClusterHardware, '{"a"')).toBe('not valid JSON')
    expect(wrong(ClusterHardware, '{"a b":{"url":"http://x"},"a-b":{"url":"http://y"}}')).toBe('two nodes would be called a-b')
    expect(wrong(ClusterHardware, '{"a":{"url":"ftp://x"}}')).toBe('a: url must be a URL that begins with http:// or https://')
    expect(wrong(ClusterHardware, '{"a":{"url":"http://x","models":["no name!"]}}')).toContain('a: models 0 "no name!" is not a model name')
    expect(wrong(ClusterHardware, '["http://x"]')).toBeTruthy()
  })
})

describe('INFERENCE_SERVERS', () => {
  test('is a list of endpoints, in the spellings that are about', () => {
    expect(InferenceServers.parse(['http://10.0.0.5:11434/', 'gpu2:11434', 'http://gpu3:8080/v1', 'http://gpu4:11434/api/generate', 'http://gpu3:8080'])).toEqual([
      { id: '10.0.0.5-11434', priority: 0, engine: { url: 'http://10.0.0.5:11434' } },
      { id: 'gpu2-11434', priority: 0, engine: { url: 'http://gpu2:11434' } },
      { id: 'gpu3-8080', priority: 0, engine: { url: 'http://gpu3:8080' } },
      { id: 'gpu4-11434', priority: 0, engine: { url: 'http://gpu4:11434' } },
    ])
  })

  test('an engine that stands in both lists is one node', () => {
    const both = frontedNodes(ClusterHardware.parse({ h100: box }), InferenceServers.parse(['10.0.0.5:11434', 'other:11434']))
    expect(both.map(({ id }) => id)).toEqual(['h100', 'other-11434'])
  })
})
