import { readFileSync } from 'node:fs'

/**
 * Answers that the tests replay. Those of llama-server were recorded from a real one (build 11669); those of Ollama are
 * written to its contract.
 */
export const recorded = (name: string): string => readFileSync(new URL(`recorded/${name}`, import.meta.url), 'utf8')

export const recordedJson = (name: string): unknown => JSON.parse(recorded(name)) as unknown
