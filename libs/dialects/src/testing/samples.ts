import fc from 'fast-check'
import { isObject, type JsonObject } from '../delta.ts'
import type { Schema } from '../fields.ts'

/** Most items and depth of what is made: enough for every branch, and small enough to be read. */
const ITEMS = 3

const list = (value: unknown): Schema[] => (Array.isArray(value) ? value.filter(isObject) : [])
const names = (value: unknown): string[] => (Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [])

/** A branch together with what stands around the choice. */
const within = ({ anyOf: _anyOf, oneOf: _oneOf, ...around }: Schema, branch: Schema): Schema => ({
  ...around,
  ...branch,
  ...(isObject(around['properties']) && { properties: { ...around['properties'], ...(isObject(branch['properties']) ? branch['properties'] : {}) } }),
  required: [...names(around['required']), ...names(branch['required'])],
})

const textOf = ({ minLength, maxLength, pattern, contentEncoding }: Schema): fc.Arbitrary<unknown> => {
  if (contentEncoding === 'base64') return fc.base64String({ minLength: 4, maxLength: 16 })
  if (typeof pattern === 'string') return fc.stringMatching(new RegExp(pattern))
  const least = typeof minLength === 'number' ? minLength : 0
  return fc.string({ unit: 'binary', minLength: least, maxLength: Math.max(least, Math.min(Number(maxLength ?? 12), 12)) })
}

/** JSON has one zero. */
const numberOf = (min: number, max: number): fc.Arbitrary<number> => fc.double({ min, max, noNaN: true, noDefaultInfinity: true }).map((value) => value + 0)

const objectOf = ({ properties, required, additionalProperties }: Schema): fc.Arbitrary<unknown> => {
  const known = Object.entries(isObject(properties) ? properties : {}).map(([name, schema]) => [name, arbitraryOf(isObject(schema) ? schema : {})] as const)
  const made = fc.record(Object.fromEntries(known), { requiredKeys: names(required).filter((name) => known.some(([each]) => each === name)), noNullPrototype: true })
  if (known.length > 0) return made
  return isObject(additionalProperties) ? fc.dictionary(fc.stringMatching(/^[1-9]{1,4}$/), arbitraryOf(additionalProperties), { maxKeys: ITEMS, noNullPrototype: true }) : fc.constantFrom({}, { type: 'object' })
}

/** Values that a schema lets through, as JSON has them. Knows the keywords that Drover's own schemas use. */
export const arbitraryOf = (schema: Schema): fc.Arbitrary<unknown> => {
  if ('const' in schema) return fc.constant(schema['const'])
  if (Array.isArray(schema['enum'])) return fc.constantFrom(...(schema['enum'] as unknown[]))
  if (Array.isArray(schema['examples'])) return fc.constantFrom(...(schema['examples'] as unknown[]))
  const branches = [...list(schema['anyOf']), ...list(schema['oneOf'])]
  if (branches.length > 0) return fc.oneof(...branches.map((branch) => arbitraryOf(within(schema, branch))))
  const { type, minimum = -1e9, maximum = 1e9 } = schema
  if (Array.isArray(type)) return fc.oneof(...type.map((one: unknown) => arbitraryOf({ ...schema, type: one })))
  switch (type) {
    case 'boolean':
      return fc.boolean()
    case 'integer':
      return fc.integer({ min: Math.max(Number(minimum), -(2 ** 31)), max: Math.min(Number(maximum), 2 ** 31 - 1) })
    case 'number':
      return numberOf(Number(minimum), Number(maximum))
    case 'string':
      return textOf(schema)
    case 'array': {
      const least = Number(schema['minItems'] ?? 0)
      return fc.array(arbitraryOf(isObject(schema['items']) ? schema['items'] : {}), { minLength: least, maxLength: Math.max(least, ITEMS) })
    }
    case 'object':
      return objectOf(schema)
    default:
      return isObject(schema['properties']) ? objectOf(schema) : fc.jsonValue({ maxDepth: 2 }).map((value) => (value === null ? {} : value))
  }
}

/** Every schema in a schema, with the names on the way to it. */
export function* schemasIn(schema: Schema, path = ''): Generator<{ path: string; schema: Schema }> {
  yield { path, schema }
  const inner = (one: unknown, name: string) => (isObject(one) ? schemasIn(one, path ? `${path}.${name}` : name) : [])
  if (isObject(schema['properties'])) for (const [name, one] of Object.entries(schema['properties'])) yield* inner(one, name)
  if (isObject(schema['items'])) yield* inner(schema['items'], '[]')
  for (const [at, branch] of [...list(schema['anyOf']), ...list(schema['oneOf'])].entries()) yield* inner(branch, `|${at}`)
}

/** A request body as JSON text. */
export const bodyOf = (schema: Schema, fixed: JsonObject): fc.Arbitrary<JsonObject> =>
  arbitraryOf(schema).map((value) => ({ ...(value as JsonObject), ...fixed }))
