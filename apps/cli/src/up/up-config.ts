import { join } from 'node:path'
import { defineConfig, duration, logSettings, redisSettings, setting } from '@drover/service'
import { z } from 'zod'
import { PROJECT } from '../project.ts'
import { AUTO } from '../share/address.ts'

export const upConfig = defineConfig('up', {
  ...redisSettings,
  ...logSettings,
  data: setting({ schema: z.string().min(1).default(join(PROJECT, '.drover/data')), describe: 'folder for what must survive: the private Redis, and model files' }),
  redisServer: setting({ schema: z.string().optional(), describe: 'the Redis or Valkey program, instead of the one found' }),
  share: setting({
    schema: z.string().min(1).optional(),
    bare: AUTO,
    describe: 'let other machines join: Redis also listens on this address of this machine, by default its only private one',
  }),
  sharePort: setting({ schema: z.coerce.number().int().min(1).max(65_535).default(16_379), describe: 'port for --share' }),
  shareGateway: setting({ schema: z.boolean().default(false), describe: 'with --share: print the line for another gateway, too' }),
  announce: setting({ schema: z.boolean().default(false), describe: 'with --share: let "drover worker --discover" find it on the local network' }),
  host: setting({ schema: z.string().min(1).default('127.0.0.1'), describe: 'address that the gateway listens on', section: 'gateway' }),
  port: setting({ schema: z.int().min(0).max(65_535).default(11_435), describe: 'its port', section: 'gateway' }),
  apiKey: setting({ schema: z.string().optional(), describe: 'the key that the gateway asks for', section: 'gateway', secret: true }),
  open: setting({ schema: z.boolean().default(false), describe: 'let the gateway listen beyond this machine without a key', section: 'gateway' }),
  blobsDir: setting({ schema: z.string().min(1).optional(), describe: 'its folder for files that models are to be made of; else blobs in the data folder', section: 'gateway' }),
  filesDir: setting({ schema: z.string().min(1).optional(), describe: 'its folder for files of batches; else files in the data folder', section: 'gateway' }),
  drainLimit: setting({
    schema: duration().prefault('30s'),
    describe: 'longest that running jobs may take when all is stopped; the rest goes back to its lane',
    section: 'worker',
  }),
  worker: setting({ schema: z.boolean().default(true), describe: 'run a worker here' }),
  modelsDir: setting({ schema: z.string().min(1).optional(), describe: 'folder of GGUF files, each a model; else models in the data folder', section: 'worker' }),
  llamaServer: setting({ schema: z.string().min(1).optional(), describe: 'the llama-server program for them, instead of the one on the search path', section: 'worker' }),
  spareModel: setting({
    schema: z.string().min(1).default(join(PROJECT, 'deploy/model/drover-small.gguf')),
    describe: 'GGUF file that is a model only while this node has no other',
    section: 'worker',
  }),
  engine: setting({ schema: z.array(z.unknown()).default([]), describe: 'engines of the worker, by URL; may be repeated', section: 'worker' }),
})
