import type { HeldModel, ModelDescription } from '@drover/core'
import { derivedDigest, parameterSize } from '../model-file.ts'
import { parameterLines } from '../parameter-lines.ts'
import type { ModelFile } from './model-files.ts'

/** In Ollama's words, and `no-template` for a model that was not made for conversations. */
const capabilitiesOf = ({ embedding, pooling, template }: ModelFile['facts']): string[] =>
  embedding
    ? [pooling === 'rank' ? 'rerank' : 'embedding']
    : ['completion', ...(template ? [] : ['no-template']), ...(template?.tools ? ['tools'] : []), ...(template?.thinking ? ['thinking'] : [])]

/** @param ctx tokens per slot */
export const descriptionOf = ({ facts }: ModelFile, ctx: number): ModelDescription => ({
  capabilities: capabilitiesOf(facts),
  modelInfo: { ...facts.metadata, 'general.parameter_count': facts.parameters },
  parameters: parameterLines({ num_ctx: ctx }),
  ...(facts.template && { template: facts.template.text }),
  shape: facts.shape,
})

/** The digest is over what the header tells, so that the same file on two nodes has the same one. */
export const heldModel = ({ model, size, modifiedAt, facts }: ModelFile): HeldModel => {
  const { architecture, parameters, quantization, contextLength, embeddingLength, shape: { layers, vocabulary } } = facts
  return {
    model,
    engineName: model,
    digest: derivedDigest('gguf', model, size, architecture, parameters, quantization, contextLength, embeddingLength, layers.length, vocabulary),
    size,
    modifiedAt,
    format: 'gguf',
    family: architecture,
    parameterSize: parameterSize(parameters),
    ...(quantization === undefined ? {} : { quantization }),
    ...(contextLength === undefined ? {} : { contextLength }),
    ...(embeddingLength === undefined ? {} : { embeddingLength }),
    capabilities: capabilitiesOf(facts),
  }
}
