import type { GatewayConnection } from '@drover/broker'
import type { HeldModel, ModelDescription, ModelName } from '@drover/core'
import { managementNotFound, parseManagement } from '@drover/dialects'
import type { Context } from 'hono'
import type { GatewayEnv } from './app.ts'
import { visibleTo } from './keys/visible.ts'
import { details, newestHeld } from './models.ts'
import { native, type NativeDeps } from './native.ts'
import type { RegistryView } from './registry-view.ts'

export interface ShowDeps extends NativeDeps {
  broker: { registry: Pick<GatewayConnection['registry'], 'description'> }
  view: RegistryView
}

/** Metadata with what clients look for in any case, as far as it is known: VS Code's Copilot leaves out a model without it. */
const modelInfo = (held: HeldModel, told: ModelDescription['modelInfo']): Record<string, unknown> => {
  const given = told['general.architecture']
  const architecture = typeof given === 'string' && given !== '' ? given : (held.family ?? 'unknown')
  return {
    ...(held.contextLength !== undefined && { [`${architecture}.context_length`]: held.contextLength }),
    ...(held.embeddingLength !== undefined && { [`${architecture}.embedding_length`]: held.embeddingLength }),
    ...told,
    'general.architecture': architecture,
  }
}

const filled = (list: readonly string[] | undefined): readonly string[] | undefined => (list && list.length > 0 ? list : undefined)

/** The answer of `POST /api/show`. What the engine has not told is empty, also for `verbose`: long arrays stay on the node. */
export const shownModel = (model: ModelName, held: HeldModel, told: ModelDescription | undefined) => ({
  ...(told?.license !== undefined && { license: told.license }),
  modelfile: told?.modelfile ?? `FROM ${model}\n`,
  parameters: told?.parameters ?? '',
  template: told?.template ?? '',
  ...(told?.system !== undefined && { system: told.system }),
  ...(told?.renderer !== undefined && { renderer: told.renderer }),
  ...(told?.parser !== undefined && { parser: told.parser }),
  ...(told?.requires !== undefined && { requires: told.requires }),
  details: details(held),
  ...(told?.messages && { messages: told.messages }),
  model_info: modelInfo(held, told?.modelInfo ?? {}),
  ...(told?.projectorInfo && { projector_info: told.projectorInfo }),
  tensors: told?.tensors ?? [],
  capabilities: filled(told?.capabilities) ?? filled(held.capabilities) ?? ['completion'],
  modified_at: held.modifiedAt,
})

/** `POST /api/show`: what a node that holds the model has told of it. */
export const show = (deps: ShowDeps): ((c: Context<GatewayEnv>) => Promise<Response>) => {
  // While Redis is away the node's own word is still known.
  const told = (digest: string) =>
    deps.broker.registry.description(digest).catch((error: unknown) => {
      deps.onError(error)
      return undefined
    })
  return native(deps, async (body, c) => {
    const asked = parseManagement('show', body).model
    const view = visibleTo(c.get('caller'), deps.view)
    const model = await view.resolve(asked)
    const held = model && newestHeld(view, model)
    if (!model || !held) throw managementNotFound('show', asked)
    const shown = shownModel(model, held, await told(held.digest))
    // It names models by their base name, which a model may share with others: Ollama tells it the whole name, too (v0.33).
    if (c.req.header('user-agent')?.startsWith('GitHubCopilotChat/')) shown.model_info['general.basename'] = asked
    return c.json(shown)
  })
}
