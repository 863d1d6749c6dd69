import { z } from 'zod'
import { readJson, type Gateway } from '../../gateway-client.ts'

const Change = z.object({ action: z.string(), model: z.string(), node: z.string() })
export type Change = z.infer<typeof Change>

/** The part of `/api/models/desired` that the commands show; `--json` passes on what the gateway says. */
const Described = z.looseObject({
  version: z.number(),
  applied_at: z.string().nullable(),
  desired: z.looseObject({ models: z.record(z.string(), z.looseObject({})), prune: z.boolean() }),
  fulfilled: z.boolean(),
  drift: z.array(z.object({ model: z.string(), text: z.string() })),
  planned: z.array(Change),
  actions: z.array(Change.extend({ completed: z.number().optional(), total: z.number().optional() })),
  failures: z.array(Change.extend({ error: z.string(), tries: z.number(), next_try_at: z.string() })),
})
export type Described = z.infer<typeof Described>

const PATH = '/api/models/desired'

/** What is described at a gateway, and how far it is so. Throws as `readJson` does. */
export const readDescribed = async (gateway: Gateway): Promise<Described> => (await readJson(gateway, PATH, Described)).value

/** Describes it, or with `dry` only asks what would be done. Throws as `readJson` does. */
export const describe = async (gateway: Gateway, state: object, { dry = false } = {}): Promise<Described> =>
  (await readJson(gateway, dry ? `${PATH}?dry_run=true` : PATH, Described, JSON.stringify(state), 'PUT')).value

/** `pull qwen3:8b on n1`. */
export const changeText = ({ action, model, node }: Change): string => `${action} ${model} on ${node}`
