import { EXIT, ExitError } from '@drover/service'
import { z } from 'zod'

const EngineStatus = z.object({
  id: z.string(),
  kind: z.string(),
  version: z.string().optional(),
  models: z.array(
    z.object({
      model: z.string(),
      loaded: z.boolean(),
      slots: z.number(),
      busy: z.number(),
      capabilities: z.array(z.string()).optional(),
    }),
  ),
})
const NodeStatus = z.object({
  id: z.string(),
  draining: z.boolean(),
  /** Absent where its engines are on another machine. */
  memory: z.object({ total: z.number(), free: z.number() }).optional(),
  gpus: z.array(z.object({ name: z.string(), free: z.number() })),
  engines: z.array(EngineStatus),
})
export type EngineStatus = z.infer<typeof EngineStatus>
export type NodeStatus = z.infer<typeof NodeStatus>

/** The part of `GET /api/status` that the commands read. */
const Status = z.object({ nodes: z.array(NodeStatus) })
export type Status = z.infer<typeof Status>

export interface Gateway {
  url: string
  apiKey: string | undefined
}

const TIMEOUT_MS = 10_000

const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  return cause instanceof Error ? cause.message || String((cause as NodeJS.ErrnoException).code) : String(cause)
}

/** What the gateway says about itself, as JSON text and parsed. Throws an `ExitError` that names the next step. */
export const readStatus = async ({ url, apiKey }: Gateway): Promise<{ text: string; status: Status }> => {
  const headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }
  let response: Response
  let text: string
  try {
    response = await fetch(new URL('/api/status', url), { headers, signal: AbortSignal.timeout(TIMEOUT_MS) })
    text = await response.text()
  } catch (error) {
    throw new ExitError(`no gateway answers at ${url} (${reasonOf(error)}): start one with "drover up", or name it with --url`, EXIT.failed)
  }
  if (response.status === 401 || response.status === 403) {
    throw new ExitError(`the gateway at ${url} wants a key (${response.status}): set DROVER_API_KEY`, EXIT.failed)
  }
  if (!response.ok) throw new ExitError(`the gateway at ${url} answers ${response.status} to /api/status`, EXIT.failed)
  const parsed = Status.safeParse(jsonOf(text))
  if (!parsed.success) throw new ExitError(`what answers at ${url} is no Drover gateway of this version`, EXIT.failed)
  return { text, status: parsed.data }
}

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `undefined` when the gateway can do work, else what keeps it. */
export const whyNotReady = async (url: string): Promise<string | undefined> => {
  try {
    const response = await fetch(new URL('/readyz', url), { signal: AbortSignal.timeout(2_000) })
    const text = (await response.text()).trim()
    return response.status === 200 ? undefined : `${response.status} ${text}`.slice(0, 300)
  } catch (error) {
    return reasonOf(error)
  }
}
