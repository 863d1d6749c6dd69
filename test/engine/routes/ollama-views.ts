import type { EngineContext } from '../context.ts'
import type { Model } from '../options.ts'

const details = (model: Model) => ({
  parent_model: '',
  format: 'gguf',
  family: model.family,
  families: [model.family],
  parameter_size: model.parameterSize,
  quantization_level: model.quantization,
})

export const tags = ({ residency }: EngineContext) => ({
  models: residency.models.map((model) => ({
    name: model.name,
    model: model.name,
    modified_at: model.modifiedAt,
    size: model.size,
    digest: model.digest,
    details: { ...details(model), context_length: model.contextLength, embedding_length: 4096 },
    capabilities: model.capabilities,
  })),
})

export const ps = ({ residency }: EngineContext) => ({
  models: residency.loaded.map(({ model, expiresAt }) => ({
    name: model.name,
    model: model.name,
    size: model.size,
    digest: model.digest,
    details: details(model),
    expires_at: new Date(expiresAt).toISOString(),
    size_vram: model.size,
    context_length: model.contextLength,
  })),
})

export const shown = (model: Model) => ({
  license: '',
  modelfile: `FROM ${model.name}\n`,
  parameters: `${'stop'.padEnd(30)} "<|end|>"\n${'temperature'.padEnd(30)} 0.7`,
  template: '{{ .System }}{{ .Prompt }}{{ if .Suffix }}{{ .Suffix }}{{ end }}',
  details: details(model),
  model_info: {
    'general.architecture': model.family,
    'general.basename': model.name,
    'general.parameter_count': 8_030_261_248,
    [`${model.family}.block_count`]: 32,
    [`${model.family}.context_length`]: model.contextLength,
    [`${model.family}.embedding_length`]: 4096,
    [`${model.family}.attention.head_count`]: 32,
    [`${model.family}.attention.head_count_kv`]: 8,
  },
  tensors: [],
  capabilities: model.capabilities,
  modified_at: model.modifiedAt,
})

export const openaiModel = (model: Model) => ({
  id: model.name,
  object: 'model',
  created: Math.floor(Date.parse(model.modifiedAt) / 1000),
  owned_by: 'library',
})
