import { BrokerError } from '@drover/core'
import { dialects, type Dialect } from '@drover/dialects'
import { z } from 'zod'
import { checkedJson } from '../checked.ts'

/** What `POST /api/jobs` takes. */
const Order = z
  .strictObject({
    dialect: z.string().optional(),
    url: z.string().optional(),
    body: z.record(z.string(), z.unknown()),
  })
  .refine(({ dialect, url }) => (dialect === undefined) !== (url === undefined), 'one of dialect and url is needed')

const byPath: ReadonlyMap<string, Dialect> = new Map(Object.values(dialects).flatMap((each) => [each.path, ...(each.aliases ?? [])].map((path) => [path, each])))
const byId: ReadonlyMap<string, Dialect> = new Map(Object.values(dialects).map((each) => [each.id, each]))

/** The format that a request is in, and its body as JSON text. @throws BrokerError `bad_request` */
export const readOrder = (text: string): { dialect: Dialect; text: string } => {
  const data = checkedJson(Order, text)
  const dialect = data.url === undefined ? byId.get(data.dialect ?? '') : byPath.get(data.url)
  if (!dialect) throw new BrokerError('bad_request', data.url === undefined ? `dialect: one of ${[...byId.keys()].join(', ')}` : `url: one of ${[...byPath.keys()].join(', ')}`)
  return { dialect, text: JSON.stringify(data.body) }
}
