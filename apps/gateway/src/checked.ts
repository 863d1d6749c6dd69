import { BrokerError } from '@drover/core'
import type { z } from 'zod'

/** What is wrong with a value, naming the field: `body.url: is missing; limit: …`. Values themselves are never repeated. */
const faults = ({ issues }: z.ZodError, what: string): string =>
  issues.map(({ path, message }) => `${path.join('.') || what}: ${message.endsWith('received undefined') ? 'is missing' : message}`).join('; ')

/** @throws BrokerError `bad_request` that names what is wrong; `what`: the name of the whole */
export const checked = <T extends z.ZodType>(schema: T, value: unknown, what: string): z.output<T> => {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  throw new BrokerError('bad_request', faults(error, what))
}

/** A request body of Drover's own. @throws BrokerError `bad_request` */
export const checkedJson = <T extends z.ZodType>(schema: T, text: string): z.output<T> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new BrokerError('bad_request', 'the request body is not JSON', { cause })
  }
  return checked(schema, value, 'the request body')
}
