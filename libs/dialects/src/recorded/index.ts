import { readFileSync } from 'node:fs'

/** An answer of llama-server b11669 as it came over the wire; the model is called `tiny` or `small`. For tests. */
export const recorded = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8')
