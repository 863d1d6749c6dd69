import { join } from 'node:path'
import { defineConfig, duration, logSettings, redisSettings, setting } from '@drover/service'
import { z } from 'zod'
import { PROJECT } from '../project.ts'

export const upConfig = defineConfig('up', {
  ...redisSettings,
  ...logSettings,
  data: setting({ schema: z.string().min(1).default(join(PROJECT, '.drover/data')), describe: 'folder for what must survive: the private Redis' }),
  redisServer: setting({ schema: z.string().optional(), describe: 'the Redis or Valkey program, instead of the one found' }),
  host: setting({ schema: z.string().min(1).default('127.0.0.1'), describe: 'address that the gateway listens on', section: 'gateway' }),
  port: setting({ schema: z.int().min(0).max(65_535).default(11_435), describe: 'its port', section: 'gateway' }),
  apiKey: setting({ schema: z.string().optional(), describe: 'the key that the gateway asks for', section: 'gateway', secret: true }),
  open: setting({ schema: z.boolean().default(false), describe: 'let the gateway listen beyond this machine without a key', section: 'gateway' }),
  drainLimit: setting({
    schema: duration().prefault('30s'),
    describe: 'longest that running jobs may take when all is stopped; the rest goes back to its lane',
    section: 'worker',
  }),
  worker: setting({ schema: z.boolean().default(true), describe: 'run a worker here' }),
  engine: setting({ schema: z.array(z.unknown()).default([]), describe: 'engines of the worker, by URL; may be repeated', section: 'worker' }),
})
