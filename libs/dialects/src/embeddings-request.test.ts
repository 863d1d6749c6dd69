import { describe, expect, test } from 'vitest'
import { parseEmbed, parseLegacyEmbeddings, parseOpenAiEmbeddings } from './embeddings-request.ts'

const embed = (fields: object) => parseEmbed(JSON.stringify({ model: 'm', ...fields }))
const openAi = (fields: object) => parseOpenAiEmbeddings(JSON.stringify({ model: 'm', input: 'x', ...fields }))

describe('/api/embed', () => {
  test.each<[string, number, string]>([
    ['', 400, 'missing request body'],
    ['{"input":"x"}', 404, "model '' not found"],
    ['{"model":"a b","input":"x"}', 400, 'invalid model name'],
    ['{"model":5}', 400, 'json: cannot unmarshal number into Go struct field EmbedRequest.model of type string'],
    ['{"model":"m","input":5}', 400, 'invalid input type'],
    ['{"model":"m","input":{}}', 400, 'invalid input type'],
    ['{"model":"m","input":["x",[5]]}', 400, 'invalid input type'],
    ['{"model":"m","truncate":"yes"}', 400, 'json: cannot unmarshal string into Go struct field EmbedRequest.truncate of type bool'],
    ['{"model":"m","dimensions":-1}', 400, 'dimensions must be between 0 and 65536'],
    ['{"model":"m","options":{"seed":"x"}}', 500, 'option "seed" must be of type integer'],
    ['{"model":"m","keep_alive":true}', 400, "Unsupported type: 'bool'"],
  ])('%s is refused with %i', (text, status, message) => {
    expect(() => parseEmbed(text)).toThrow(expect.objectContaining({ status, message }))
  })

  test('too many inputs, and one that is too long, are refused', () => {
    expect(() => embed({ input: Array(10_001).fill('x') })).toThrow('input has 10001 items, at most 10000 are allowed')
    expect(() => embed({ input: ['x', 'x'.repeat(1_000_001)] })).toThrow('input 1 has 1000001 characters, at most 1000000 are allowed')
    expect(() => embed({ input: 'x'.repeat(1_000_001) })).toThrow('input 0 has 1000001 characters')
    expect(embed({ input: Array(10_000).fill('x') }).inputs?.weights).toHaveLength(10_000)
  })

  test('names are matched as Go does it, and what nobody knows is dropped and named', () => {
    const fields = { input: 'x', truncate: false, dimensions: 8, keep_alive: '5m', options: { num_ctx: 5 } }
    const { body, ignored, stream, slots } = parseEmbed(JSON.stringify({ Model: 'm', ...fields, stream: true, prompt: 'y' }))
    expect(body).toEqual({ model: 'm', ...fields })
    expect({ ignored, stream, slots }).toEqual({ ignored: ['stream', 'prompt'], stream: false, slots: 1 })
  })

  test('only a list of several inputs can be cut', () => {
    for (const input of [undefined, '', 'x', [], ['x']]) expect(embed({ input }).inputs).toBeUndefined()
    const { inputs, body } = embed({ input: ['a', 'bb', 'ccc'], truncate: true })
    expect(inputs?.weights.map((weight, _, all) => weight - (all[0] ?? 0))).toEqual([0, 1, 2])
    expect(inputs?.part(1, 3)).toEqual({ ...body, input: ['bb', 'ccc'] })
  })
})

describe('/api/embeddings', () => {
  test.each<[string, string]>([
    ['', 'missing request body'],
    ['{"prompt":"x"}', 'model is required'],
    ['{"model":"m","prompt":["x"]}', 'json: cannot unmarshal array into Go struct field EmbeddingRequest.prompt of type string'],
  ])('%s is refused', (text, message) => {
    expect(() => parseLegacyEmbeddings(text)).toThrow(expect.objectContaining({ status: 400, message }))
  })

  test('a prompt and options are all there is', () => {
    const { body, ignored, inputs } = parseLegacyEmbeddings('{"model":"m","prompt":"x","options":{"seed":1},"input":"y"}')
    expect({ body, ignored, inputs }).toEqual({ body: { model: 'm', prompt: 'x', options: { seed: 1 } }, ignored: ['input'], inputs: undefined })
  })
})

describe('/v1/embeddings', () => {
  test.each<[string, string]>([
    ['', 'EOF'],
    ['{"model":"m"}', 'invalid input'],
    ['{"model":"m","input":null}', 'invalid input'],
    ['{"model":"m","input":[]}', 'invalid input'],
    ['{"model":"m","input":5}', 'invalid input type'],
    ['{"model":"m","input":["x",[5]]}', 'invalid input type'],
    ['{"model":"m","input":[[]]}', 'invalid input type'],
    ['{"model":"m","input":[-1]}', 'invalid input type'],
    ['{"model":"m","input":[1.5]}', 'invalid input type'],
    ['{"input":"x"}', 'model is required'],
    ['{"model":"m","input":"x","dimensions":"8"}', 'json: cannot unmarshal string into Go struct field EmbedRequest.dimensions of type int'],
    ['{"model":"m","input":"x","encoding_format":"hex"}', "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64']."],
  ])('%s is refused', (text, message) => {
    expect(() => parseOpenAiEmbeddings(text)).toThrow(expect.objectContaining({ code: 'bad_request', status: 400, message }))
  })

  test('texts are for any engine, tokens for a llama-server', () => {
    expect(openAi({ input: '' }).engine).toBeUndefined()
    expect(openAi({ input: ['x', 'y'], user: 'u' })).toMatchObject({ ignored: ['user'], body: { input: ['x', 'y'] } })
    expect(openAi({ input: ['x', 'y'] }).engine).toBeUndefined()
    expect(openAi({ input: [5, 6] })).toMatchObject({ engine: 'llama-server', body: { input: [5, 6] } })
    expect(openAi({ input: [5, 6] }).inputs).toBeUndefined()
    const { inputs, engine } = openAi({ input: [[5, 6], [7]], encoding_format: 'base64' })
    expect(engine).toBe('llama-server')
    expect(inputs?.part(1, 2)).toEqual({ model: 'm', input: [[7]], encoding_format: 'base64' })
  })
})
