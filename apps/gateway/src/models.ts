import { type HeldModel, type LoadedModel, type ModelName } from '@drover/core'
import { managementNotFound } from '@drover/dialects'
import { wholeMemory } from './clusters/memory.ts'
import type { View } from './registry-view.ts'

/** What stays in memory for good, as Ollama says it: a time centuries ahead. */
const FOR_EVER = '2318-01-01T00:00:00Z'

/** What Ollama calls a model's details. */
export const details = (held: HeldModel) => ({
  parent_model: '',
  format: held.format ?? 'gguf',
  family: held.family ?? '',
  families: held.family === undefined ? [] : [held.family],
  parameter_size: held.parameterSize ?? '',
  quantization_level: held.quantization ?? '',
  ...(held.contextLength !== undefined && { context_length: held.contextLength }),
  ...(held.embeddingLength !== undefined && { embedding_length: held.embeddingLength }),
})

/** Epoch ms: nodes write times with their own zones. What is no time is long ago. */
const timeOf = (text: string): number => Date.parse(text) || 0

/** One holder stands for a model that several nodes hold: the one whose copy is newest. */
export const newestHeld = (view: View, model: ModelName): HeldModel | undefined =>
  view.holders.get(model)?.map(({ held }) => held).reduce((best, held) => (timeOf(held.modifiedAt) > timeOf(best.modifiedAt) ? held : best))

const newest = (view: View): [ModelName, HeldModel][] =>
  [...view.holders.keys()]
    .flatMap((model): [ModelName, HeldModel][] => {
      const held = newestHeld(view, model)
      return held ? [[model, held]] : []
    })
    .toSorted(([, a], [, b]) => timeOf(b.modifiedAt) - timeOf(a.modifiedAt))

/** `GET /api/tags` over all nodes. */
export const tags = (view: View) => ({
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

/** `GET /api/ps` over all nodes: each model once, as the node has it that keeps it longest. */
export const ps = (view: View) => {
  const longest = new Map<ModelName, { loaded: LoadedModel; held: HeldModel }>()
  for (const node of view.nodes)
    for (const engine of node.engines)
      for (const loaded of engine.loaded.map((each) => wholeMemory(node, engine, each))) {
        const held = engine.held.find(({ model }) => model === loaded.model)
        const known = longest.get(loaded.model)?.loaded
        if (held && (!known || timeOf(loaded.expiresAt ?? FOR_EVER) > timeOf(known.expiresAt ?? FOR_EVER))) longest.set(loaded.model, { loaded, held })
      }
  const models = [...longest.values()].map(({ loaded, held }) => ({
    name: loaded.model,
    model: loaded.model,
    size: loaded.size,
    digest: held.digest,
    details: details(held),
    expires_at: loaded.expiresAt ?? FOR_EVER,
    size_vram: loaded.sizeVram,
    ...(loaded.contextLength !== undefined && { context_length: loaded.contextLength }),
  }))
  return { models: models.toSorted((a, b) => timeOf(b.expires_at) - timeOf(a.expires_at)) }
}

const openaiModel = (id: string, model: ModelName, held: HeldModel) => ({
  id,
  object: 'model',
  created: Math.floor(timeOf(held.modifiedAt) / 1000),
  owned_by: model.includes('/') ? model.slice(0, model.lastIndexOf('/')) : 'library',
})

/** `GET /v1/models` over all nodes. */
export const openaiModels = (view: View) => ({ object: 'list', data: newest(view).map(([model, held]) => openaiModel(model, model, held)) })

/** `GET /v1/models/:model`, under the name that was asked for. @throws BrokerError `model_not_found` */
export const oneOpenaiModel = async (view: View, asked: string) => {
  const model = await view.resolve(asked)
  const held = model && newestHeld(view, model)
  if (!model || !held) throw managementNotFound('show', asked)
  return openaiModel(asked, model, held)
}
