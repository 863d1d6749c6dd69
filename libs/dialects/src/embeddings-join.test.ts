import fc from 'fast-check'
import { expect, test } from 'vitest'
import { joinEmbed, joinOpenAiEmbeddings } from './embeddings-join.ts'

const vector = fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0), { maxLength: 4 })
const parts = fc.array(fc.record({ vectors: fc.array(vector, { minLength: 1, maxLength: 3 }), tokens: fc.nat(1_000), load: fc.nat(1_000) }), { minLength: 2, maxLength: 4 })
const model = fc.constantFrom('m', 'namespace/Model.x:8b', 'hf.co/a/b:Q4_K_M')

test('answers of /api/embed to parts are one answer, in order', () => {
  fc.assert(
    fc.property(parts, model, (parts, model) => {
      const bodies = parts.map(({ vectors, tokens, load }) => JSON.stringify({ model, embeddings: vectors, total_duration: 5, load_duration: load, prompt_eval_count: tokens }))
      const tokens = parts.reduce((sum, part) => sum + part.tokens, 0)
      const load = Math.max(...parts.map((part) => part.load))
      expect(JSON.parse(joinEmbed(bodies, 12.5))).toEqual(
        JSON.parse(JSON.stringify({
          model, embeddings: parts.flatMap(({ vectors }) => vectors), total_duration: 12_500_000,
          ...(load > 0 && { load_duration: load }), ...(tokens > 0 && { prompt_eval_count: tokens }),
        })),
      )
    }),
  )
})

test('answers of /v1/embeddings to parts are one answer, numbered anew', () => {
  fc.assert(
    fc.property(parts, model, fc.boolean(), (parts, model, encoded) => {
      const written = (values: number[]) => (encoded ? Buffer.from(new Float32Array(values).buffer).toString('base64') : values)
      const answer = (vectors: number[][], tokens: number) => ({
        object: 'list', data: vectors.map((one, index) => ({ object: 'embedding', embedding: written(one), index })), model,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      })
      const bodies = parts.map(({ vectors, tokens }) => JSON.stringify(answer(vectors, tokens)))
      const whole = answer(parts.flatMap(({ vectors }) => vectors), parts.reduce((sum, { tokens }) => sum + tokens, 0))
      expect(joinOpenAiEmbeddings(bodies)).toBe(JSON.stringify(whole))
    }),
  )
})
