import { hostname } from 'node:os'
import { EngineConfig, OLLAMA_PORTS } from '@drover/engines'
import { bytes, defineConfig, duration, joinSettings, logSettings, redisSettings, setting, type SettingValues } from '@drover/service'
import { z } from 'zod'
import { ClusterWishes } from './coordinating/wishes.ts'
import { ClusterHardware, InferenceServers } from './fronted.ts'
import { keepAliveMs } from './own-models.ts'

/** A node's name: it stands in Redis keys and in headers. */
const NodeName = z.string().regex(/^[\w.-]{1,64}$/, 'expected 1 to 64 letters, digits or ._-')

export const workerConfig = defineConfig('worker', {
  ...redisSettings,
  ...joinSettings,
  ...logSettings,
  node: setting({ schema: NodeName.default(hostname().replaceAll(/[^\w.-]/g, '-').slice(0, 64) || 'node'), describe: 'name of this node, its own in the installation' }),
  engine: setting({ schema: z.array(EngineConfig).default([]), describe: 'engine of this node, by URL; may be given several times' }),
  clusterHardware: setting({
    schema: ClusterHardware.prefault({}),
    describe: 'engines of other machines, each a node of its own: a JSON object, name to {url, priority, models}; a lower priority goes first',
    env: ['CLUSTER_HARDWARE'],
    secret: true,
  }),
  inferenceServers: setting({
    schema: InferenceServers.prefault([]),
    describe: 'the same as a mere list of URLs',
    env: ['INFERENCE_SERVERS'],
  }),
  look: setting({ schema: z.boolean().default(true), describe: `look for Ollama on ports ${OLLAMA_PORTS[0]}–${OLLAMA_PORTS.at(-1)} and OLLAMA_HOST` }),
  ollamaHost: setting({ schema: z.string().optional(), describe: 'where else to look for Ollama', env: ['OLLAMA_HOST'] }),
  slots: setting({
    schema: z.coerce.number().int().min(1).max(1024).default(1),
    describe: 'concurrent generations per model of an Ollama that was found by looking',
    env: ['OLLAMA_NUM_PARALLEL'],
  }),
  preference: setting({ schema: z.coerce.number().default(0), describe: 'nodes with a higher preference are given jobs first' }),
  label: setting({
    schema: z.array(z.string().regex(/^[\w.-]+=[\w./-]*$/, 'expected name=value')).default([]),
    describe: 'label of this node, name=value; may be given several times',
  }),
  numCtx: setting({ schema: z.coerce.number().int().min(1).optional(), describe: 'context per slot that models are loaded with; else Ollama’s own default, and 4096 for models of the models folder' }),
  keepAlive: setting({
    schema: z.string().refine((text) => keepAliveMs(text) !== undefined, 'expected a time like 5m, 0 or -1').optional(),
    describe: 'how long a model that is not used stays in memory, like 5m or -1; else Ollama’s own default, and 5m for models of the models folder',
  }),
  modelsDir: setting({ schema: z.string().min(1).optional(), describe: 'folder of GGUF files, each a model that is run by a llama-server on demand' }),
  spareModel: setting({ schema: z.string().min(1).optional(), describe: 'GGUF file that is a model only while this node has no other' }),
  llamaServer: setting({ schema: z.string().min(1).optional(), describe: 'the llama-server program for the models folder, instead of the one on the search path' }),
  llamaSlots: setting({ schema: z.coerce.number().int().min(1).max(256).default(2), describe: 'concurrent generations per model of the models folder' }),
  llamaMemory: setting({ schema: bytes({ min: 1 }).optional(), describe: 'memory that models of the models folder may take together, like 12gb; else most of what is free at the start' }),
  llamaGpuLayers: setting({ schema: z.coerce.number().int().min(0).optional(), describe: 'layers that llama-server puts on the GPU; else as many as fit' }),
  coordinate: setting({ schema: z.boolean().default(true), describe: 'run models that fit no single node over the memory that others lend, see docs/clusters.md' }),
  clusterModels: setting({ schema: ClusterWishes.prefault({}), describe: 'how single models are spread over nodes: a JSON object, model to {nodes, layers, context, slots, flash_attention, kv_type, headroom}' }),
  ollamaModels: setting({ schema: z.string().min(1).optional(), describe: 'where the Ollama of this machine keeps its models, to run them over several nodes; else where it usually does', env: ['OLLAMA_MODELS'] }),
  copyModels: setting({ schema: z.boolean().default(true), describe: 'copy model files from other nodes that have them, and hand out this one’s, see docs/models.md' }),
  copyAddress: setting({ schema: z.string().optional(), describe: 'private address of this machine at which other nodes get its model files; else that of --lend-address' }),
  copyPort: setting({ schema: z.coerce.number().int().min(0).max(65_535).default(0), describe: 'port for that; 0: any that is free' }),
  copyRate: setting({ schema: bytes({ min: 1_024 }).optional(), describe: 'most bytes a second that are handed out, like 100mb; else as fast as it goes' }),
  hubUrl: setting({ schema: z.url({ protocol: /^https?$/ }).default('https://huggingface.co'), describe: 'where models hf.co/OWNER/REPOSITORY:QUANTIZATION come from that are pulled into the models folder', env: ['HF_ENDPOINT'] }),
  hubToken: setting({ schema: z.string().min(1).optional(), describe: 'token for that place', env: ['HF_TOKEN'], secret: true }),
  lend: setting({ schema: z.boolean().default(false), describe: 'lend memory to models that run over several nodes: only in a private network, see docs/lending.md' }),
  lendMemory: setting({ schema: bytes({ min: 1 }).optional(), describe: 'most memory that is lent, like 12gb; else all that models of this node do not use' }),
  lendAddress: setting({ schema: z.string().default('127.0.0.1'), describe: 'private address of this machine under which others reach what is lent; a loopback address: only those of this machine' }),
  lendDevice: setting({ schema: z.array(z.string().regex(/^[\w.:-]+$/, 'expected a device as llama.cpp calls it, like CUDA0')).default([]), describe: 'device whose memory is lent, as llama.cpp calls it; may be given several times; else the GPUs, or the CPU where there are none' }),
  lendPorts: setting({
    schema: z.string().regex(/^\d{1,5}-\d{1,5}$/, 'expected first-last').transform((text) => text.split('-').map(Number) as [number, number]).refine(([from, to]) => 0 < from && from <= to && to < 65_536, 'expected first-last').optional(),
    describe: 'ports that what is lent may use, like 50100-50163; else any that is free',
  }),
  rpcServer: setting({ schema: z.string().min(1).optional(), describe: "llama.cpp's rpc-server program for what is lent, instead of the one found" }),
  firstToken: setting({ schema: duration({ min: 100 }).prefault('5m'), describe: 'an engine that says nothing for this long after a request is stuck' }),
  loadTime: setting({ schema: duration().prefault('5m'), describe: 'allowed on top when the model must be loaded first' }),
  tokenGap: setting({ schema: duration({ min: 100 }).prefault('30s'), describe: 'an engine that says nothing for this long between two tokens is stuck' }),
  starveAfter: setting({ schema: duration().prefault('10s'), describe: 'a job that has waited this long goes before all others' }),
  batchStarveAfter: setting({ schema: duration().prefault('5m'), describe: 'a model whose batch jobs have had nothing of this node for so long has one taken before all others' }),
  batchShare: setting({ schema: z.coerce.number().min(0).max(1).default(1), describe: "part of an engine's slots that batch jobs may hold at once; 0: this node does none" }),
  batchSpare: setting({ schema: z.coerce.number().min(0).max(1).default(0.0625), describe: "part of an engine's slots, rounded down, that batch jobs leave free for interactive ones" }),
  preempt: setting({ schema: z.boolean().default(true), describe: 'batch jobs make room for interactive ones that find no free slot, and go on later' }),
  preemptAfter: setting({ schema: duration().prefault('15ms'), describe: 'those who have a slot free are given so long before batch jobs make room; longer where workers are far from Redis' }),
  drainLimit: setting({ schema: duration().prefault('30s'), describe: 'longest that running jobs may take when the worker is stopped; the rest goes back' }),
  resume: setting({ schema: z.boolean().default(true), describe: 'go on with answers that another attempt has half sent; else they end with an error' }),
  allowEviction: setting({ schema: z.boolean().default(false), describe: 'accept a Redis that evicts keys: jobs may vanish' }),
  sendTwice: setting({ schema: z.coerce.number().min(0).max(1).default(0), describe: 'for tests: share of script calls that are sent twice' }),
})

export type WorkerConfig = SettingValues<typeof workerConfig.settings>
