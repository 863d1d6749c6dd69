import type { Status } from '../gateway-client.ts'
import { firstModel, nodeLines } from '../node-lines.ts'

export interface Welcome {
  url: string
  /** Whether requests need a key. */
  keyed: boolean
  /** Whether a worker runs here. */
  worker: boolean
  status: Status
}

/** What `drover up` says when everything is up: where, what can be run, and a line to paste. */
export const welcome = ({ url, keyed, worker, status: { nodes } }: Welcome): string[] => {
  const model = firstModel(nodes)
  const key = keyed ? ' -H "Authorization: Bearer $DROVER_API_KEY"' : ''
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Why is the sky blue?' }] })
  const next =
    model === undefined
      ? ['No model yet. ' + (worker ? gettingOne : 'Start a worker where the models are, with "drover worker".')]
      : ['Try it:', `  curl -N ${url}/api/chat${key} -d '${body}'`]
  return ['', `Drover is up at ${url}`, ...nodes.flatMap(nodeLines), '', ...next, '']
}

const gettingOne =
  'Start Ollama and "ollama pull llama3.2" (it shows up by itself), ' +
  'or run a "llama-server" of llama.cpp and name it with --engine http://127.0.0.1:8080.'
