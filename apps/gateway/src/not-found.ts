import { BrokerError } from '@drover/core'
import type { Dialect } from '@drover/dialects'

/** A model that is not there, in the words of the API by which it was asked for. */
export const notFound = ({ notFound: text }: Pick<Dialect, 'notFound'>, asked: string): BrokerError => new BrokerError('model_not_found', text?.(asked) ?? `model '${asked}' not found`)
