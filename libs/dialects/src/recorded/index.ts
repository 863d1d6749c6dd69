import { readFileSync } from 'node:fs'

/**
 * An answer of llama-server b11669 as it came over the wire; the model is called `tiny` or `small`. Those in `llama/` answer the
 * cases in `testing/llama-cases.ts`, those in `ollama/`, from an Ollama v0.33 too, the ones in `testing/ollama-cases.ts`. For tests.
 */
export const recorded = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8')
