import type { Status } from '../gateway-client.ts'
import { firstModel, nodeLines } from '../node-lines.ts'
import type { OwnModels } from './own-models.ts'

export interface Welcome {
  url: string
  /** Whether requests need a key. */
  keyed: boolean
  /** Whether a worker runs here. */
  worker: boolean
  status: Status
  /** The models that the worker here runs by itself. */
  own?: OwnModels | undefined
}

/** What `drover up` says when everything is up: where, what can be run, and a line to paste. */
export const welcome = ({ url, keyed, worker, status: { nodes }, own }: Welcome): string[] => {
  const model = firstModel(nodes)
  const names = nodes.flatMap(({ engines }) => engines.flatMap(({ models }) => models.map((each) => each.model)))
  const shippedOnly = model !== undefined && names.every((name) => name === own?.spare)
  const key = keyed ? ' -H "Authorization: Bearer $DROVER_API_KEY"' : ''
  const content = shippedOnly ? FOR_SHIPPED : 'Why is the sky blue?'
  const body = JSON.stringify({ model, messages: [{ role: 'user', content }] })
  const next =
    model === undefined
      ? ['No model yet. ' + (worker ? gettingOne(own) : 'Start a worker where the models are, with "drover worker".')]
      : ['Try it:', `  curl -N ${url}/api/chat${key} -d '${body}'`]
  const about = shippedOnly ? ['', `${model} is a tiny model that ships with Drover, for trying things out: it knows nothing of the world.`, gettingOne(own)] : []
  return ['', `Drover is up at ${url}`, ...nodes.flatMap(nodeLines), '', ...next, ...about, '']
}

/** What it says where keys were made and it has none of them: then it cannot ask what is there. */
export const keysOnly = (url: string): string[] => [
  '', `Drover is up at ${url}`, '',
  'It asks for an API key: there are some in its Redis. To see and manage everything without one of them, start it with DROVER_API_KEY set to a key of your own.', '',
]

/** A question that the model's card (deploy/model) says it can answer. */
const FOR_SHIPPED = 'What is a lane?'

const gettingOne = (own: OwnModels | undefined): string =>
  (own ? `Put a GGUF file into ${own.folder}, or start` : 'Start') +
  ` Ollama and "ollama pull llama3.2" (${own ? 'either' : 'it'} shows up by itself), ` +
  'or run a "llama-server" of llama.cpp and name it with --engine http://127.0.0.1:8080.'
