import type { HeldModel, LoadedModel, ModelName } from '@drover/core'
import type { RegistryView } from './registry-view.ts'

/** What stays in memory for good, as Ollama says it: a time centuries ahead. */
const FOR_EVER = '2318-01-01T00:00:00Z'

const details = (held: HeldModel) => ({
  parent_model: '',
  format: held.format ?? 'gguf',
  family: held.family ?? '',
  families: held.family === undefined ? [] : [held.family],
  parameter_size: held.parameterSize ?? '',
  quantization_level: held.quantization ?? '',
  ...(held.contextLength !== undefined && { context_length: held.contextLength }),
  ...(held.embeddingLength !== undefined && { embedding_length: held.embeddingLength }),
})

/** One holder stands for a model that several nodes hold: the one whose copy is newest. */
const newest = (view: RegistryView): [ModelName, HeldModel][] =>
  [...view.holders]
    .map(([model, holders]): [ModelName, HeldModel] => [model, holders.map(({ held }) => held).reduce((best, held) => (held.modifiedAt > best.modifiedAt ? held : best))])
    .toSorted(([, a], [, b]) => (a.modifiedAt < b.modifiedAt ? 1 : -1))

/** `GET /api/tags` over all nodes. */
export const tags = (view: RegistryView) => ({
  models: newest(view).map(([model, held]) => ({
    name: model,
    model,
    modified_at: held.modifiedAt,
    size: held.size,
    digest: held.digest,
    details: details(held),
    ...(held.capabilities && { capabilities: held.capabilities }),
  })),
})

/** `GET /api/ps` over all nodes: each model once, for the longest that any node keeps it. */
export const ps = (view: RegistryView) => {
  const loaded = new Map<ModelName, LoadedModel>()
  for (const { engines } of view.nodes)
    for (const engine of engines)
      for (const each of engine.loaded) {
        const known = loaded.get(each.model)
        if (!known || (each.expiresAt ?? FOR_EVER) > (known.expiresAt ?? FOR_EVER)) loaded.set(each.model, each)
      }
  const models = [...loaded.values()].flatMap((each) => {
    const held = view.holders.get(each.model)?.[0]?.held
    if (!held) return []
    return {
      name: each.model,
      model: each.model,
      size: each.size,
      digest: held.digest,
      details: details(held),
      expires_at: each.expiresAt ?? FOR_EVER,
      size_vram: each.sizeVram,
      ...(each.contextLength !== undefined && { context_length: each.contextLength }),
    }
  })
  return { models: models.toSorted((a, b) => (a.expires_at < b.expires_at ? 1 : -1)) }
}

/** `GET /v1/models` over all nodes. */
export const openaiModels = (view: RegistryView) => ({
  object: 'list',
  data: newest(view).map(([model, held]) => ({
    id: model,
    object: 'model',
    created: Math.floor(Date.parse(held.modifiedAt) / 1000) || 0,
    owned_by: model.includes('/') ? model.slice(0, model.lastIndexOf('/')) : 'library',
  })),
})
