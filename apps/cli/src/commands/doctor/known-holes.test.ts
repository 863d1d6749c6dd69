import { expect, test } from 'vitest'
import { holesOf } from './known-holes.ts'

const ids = (program: Parameters<typeof holesOf>[0], version: string) => holesOf(program, version).map((text) => text.slice(0, text.indexOf(' (')))

test.each([
  ['Redis', '6.2.19', ['CVE-2025-49844']],
  ['Redis', '6.2.20', []],
  ['Redis', '7.0.15', ['CVE-2025-49844']],
  ['Redis', '7.2.10', ['CVE-2025-49844', 'CVE-2026-23479']],
  ['Redis', '8.2.2', ['CVE-2026-23479']],
  ['Redis', '8.6.3', []],
  ['Valkey', '8.1.3', ['CVE-2025-49844']],
  ['Valkey', '8.1.4', []],
  ['Valkey', '9.0.0', []],
  ['ollama', '0.17.0', ['CVE-2026-7482']],
  ['ollama', '0.17.1-rc1', []],
  ['ollama', '0.33.0', []],
  ['llama-server', 'b9000-abcdef', ['CVE-2026-21869', 'llama.cpp #24496']],
  ['llama-server', 'b11669-Debian', []],
  ['llama-server', 'whatever', []],
] as const)('%s %s has %j', (program, version, expected) => {
  expect(ids(program, version)).toEqual(expected)
})
