import { setting } from '@drover/service'
import { z } from 'zod'

/** Which nodes are to do it. */
export const nodesSetting = { node: setting({ schema: z.array(z.string().regex(/^[\w.-]{1,64}$/, 'expected the name of a node')).default([]), describe: 'a node that is to do it; may be given several times' }) }

export const nodesHeader = (nodes: readonly string[]): Record<string, string> => (nodes.length > 0 ? { 'x-drover-nodes': nodes.join(',') } : {})
