import { setting } from '@drover/service'
import { z } from 'zod'
import type { Gateway } from '../gateway-client.ts'

/** How every command that asks a gateway finds it. */
export const clientSettings = {
  url: setting({ schema: z.url({ protocol: /^https?$/ }).optional(), describe: 'the gateway to ask; by default the one of this configuration' }),
  host: setting({ schema: z.string().min(1).default('127.0.0.1'), describe: 'where it listens, when there is no --url', section: 'gateway' }),
  port: setting({ schema: z.int().min(0).max(65_535).default(11_435), describe: 'its port, when there is no --url', section: 'gateway' }),
  apiKey: setting({ schema: z.string().optional(), describe: 'the key that it asks for', section: 'gateway', secret: true }),
}

export const jsonSetting = { json: setting({ schema: z.boolean().default(false), describe: 'one JSON document instead of text for people' }) }

/** An address to listen on is reached by loopback when it means every address. */
export const localUrl = (host: string, port: number): string => {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`
}

export interface ClientValues {
  url?: string | undefined
  host: string
  port: number
  apiKey?: string | undefined
}

export const gatewayOf = ({ url, host, port, apiKey }: ClientValues): Gateway => ({ url: url ?? localUrl(host, port), apiKey })
