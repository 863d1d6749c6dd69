import { BrokerError } from '@drover/core'
import { isObject, type JsonObject } from './delta.ts'

/** What a client wrote, for a message to it. Not by `String`: an object may say that it cannot be made one. */
export const written = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing'))

/** Where a value stands: the innermost Go struct and the path from the top, as this API's servers name them in their errors (Ollama v0.33). */
export interface Place {
  struct: string
  path: string
}

/** What one request has dropped so far. */
export type Ignored = Set<string>

/** A JSON Schema, as OpenAPI 3.1 has it. */
export type Schema = JsonObject

/** Returns the value as it may go on, or throws `bad_request`. `schema` tells users the same. */
export interface Check {
  (value: unknown, place: Place, ignored: Ignored): unknown
  schema?: Schema
}

/** A check with the schema of what it lets through. What the check says of itself stays where `schema` does not say otherwise. */
export const described = (schema: Schema, check: Check): Check => {
  // One like `text` stands in many places, so it is left as it is.
  const own: Check = check.schema ? (value, place, ignored) => check(value, place, ignored) : check
  return Object.assign(own, { schema: { ...check.schema, ...schema } })
}

/** `{}`, which is any value, for a check that does not say. */
export const schemaOf = ({ schema }: Check): Schema => schema ?? {}

/** Names of dropped fields go into a header: few, short and plain. */
const IGNORED_NAMES = 20
const PLAIN_NAME = /^[\w.-]{1,64}$/

export const ignore = (ignored: Ignored, name: string): void => {
  if (ignored.size < IGNORED_NAMES) ignored.add(PLAIN_NAME.test(name) ? name : '?')
}

export const badRequest = (message: string, status = 400) => new BrokerError('bad_request', message, { status })

/** A JSON value's kind in the words of Go's decoder. */
export const kindOf = (value: unknown): string =>
  typeof value === 'boolean' ? 'bool' : Array.isArray(value) ? 'array' : typeof value

const wrongType = (value: unknown, { struct, path }: Place, type: string, kind = kindOf(value)) =>
  badRequest(`json: cannot unmarshal ${kind} into Go ${path ? `struct field ${struct}.${path}` : 'value'} of type ${type}`)

export const text: Check = described({ type: 'string' }, (value, place) => {
  if (typeof value !== 'string') throw wrongType(value, place, 'string')
  return value
})

export const lowerCase: Check = described({ type: 'string', description: 'Upper or lower case.' }, (value, place) => {
  if (typeof value !== 'string') throw wrongType(value, place, 'string')
  return value.toLowerCase()
})

export const flag: Check = described({ type: 'boolean' }, (value, place) => {
  if (typeof value !== 'boolean') throw wrongType(value, place, 'bool')
  return value
})

const inRange = (value: number, path: string, min: number, max: number): number => {
  if (value < min || value > max) throw badRequest(`${path} must be between ${min} and ${max}`)
  return value
}

export const int = (min: number, max: number): Check =>
  described({ type: 'integer', minimum: min, maximum: max }, (value, place) => {
    if (typeof value !== 'number') throw wrongType(value, place, 'int')
    if (!Number.isSafeInteger(value)) throw wrongType(value, place, 'int', `number ${value}`)
    return inRange(value, place.path, min, max)
  })

export const float = (min: number, max: number): Check =>
  described({ type: 'number', minimum: min, maximum: max }, (value, place) => {
    if (typeof value !== 'number') throw wrongType(value, place, 'float64')
    if (!Number.isFinite(value)) throw wrongType(value, place, 'float64', `number ${value}`)
    return inRange(value, place.path, min, max)
  })

export const list = (item: Check, most: number, type: string): Check =>
  described({ type: 'array', items: schemaOf(item), maxItems: most }, (value, place, ignored) => {
    if (!Array.isArray(value)) throw wrongType(value, place, type)
    if (value.length > most) throw badRequest(`${place.path} has ${value.length} items, at most ${most} are allowed`)
    return value.map((one) => item(one, place, ignored))
  })

/** The known fields of an object; `foldCase` matches names as Go does. `null` is absent, anything unknown is dropped and named. */
export const struct = (struct: string, fields: Record<string, Check>, { foldCase = false, type = struct } = {}): Check => {
  const names = new Map(Object.keys(fields).map((name) => [name, name]))
  const properties = Object.fromEntries(Object.entries(fields).map(([name, check]) => [name, schemaOf(check)]))
  return described({ type: 'object', properties }, (value, place, ignored) => {
    if (!isObject(value)) throw wrongType(value, place, type)
    const known: JsonObject = {}
    const prefix = place.path ? `${place.path}.` : ''
    for (const [key, inner] of Object.entries(value)) {
      const name = names.get(foldCase ? key.toLowerCase() : key)
      const check = name === undefined ? undefined : fields[name]
      if (name === undefined || check === undefined) ignore(ignored, prefix + key)
      else if (inner !== null) known[name] = check(inner, { struct, path: prefix + name }, ignored)
    }
    return known
  })
}

/** A JSON object that goes on as it is: a schema, arguments. */
export const anyObject = (type: string): Check =>
  described({ type: 'object' }, (value, place) => {
    if (!isObject(value)) throw wrongType(value, place, type)
    return value
  })

const TOOL: Schema = {
  type: 'object',
  required: ['function'],
  properties: {
    type: { type: 'string', examples: ['function'] },
    function: {
      type: 'object',
      required: ['name'],
      properties: {
        name: { type: 'string', minLength: 1, maxLength: 256 },
        description: { type: 'string' },
        parameters: { type: 'object', description: 'A JSON Schema of its arguments.' },
      },
    },
  },
}

/** Tool definitions go on as they are; only what every engine relies on is checked. Both APIs write them alike. */
export const tools = (type: string, all = `[]${type}`): Check =>
  list(
    described(TOOL, (tool, place) => {
      if (!isObject(tool)) throw wrongType(tool, place, type)
      const called = tool['function']
      if (!isObject(called)) throw badRequest('tools: each tool needs a function')
      if (typeof called['name'] !== 'string' || called['name'] === '' || called['name'].length > 256)
        throw badRequest('tools: each function needs a name of at most 256 characters')
      const parameters = called['parameters'] ?? undefined
      if (parameters !== undefined && !isObject(parameters)) throw badRequest('tools: parameters must be a JSON Schema object')
      return tool
    }),
    1_000,
    all,
  )

/** The top of a request body: the place of the fields in it. */
export const top = (struct: string): Place => ({ struct, path: '' })
