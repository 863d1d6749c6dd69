import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const ASK_MS = 1_000

/** The models folder of `drover up`, where nobody has named another. */
const MODELS = '.drover/data/models'

const hasModels = () => {
  try {
    return readdirSync(MODELS).some((name) => name.endsWith('.gguf'))
  } catch {
    return false
  }
}

/** Settings of the worker, as flag and as variable, by which somebody says which engines there are. */
const NAMING = [
  ['--engine', 'DROVER_ENGINE'],
  ['--cluster-hardware', 'CLUSTER_HARDWARE'],
  ['--inference-servers', 'INFERENCE_SERVERS'],
]

const gives = (words, flag) => words.some((word) => word === flag || word.startsWith(`${flag}=`))

/** The text of the configuration file that the command will read: named, or `drover.yaml` where it was called. */
const configFile = (words, from) => {
  const at = words.findIndex((word) => /^--config(=|$)/.test(word))
  const named = at < 0 ? process.env.DROVER_CONFIG : (words[at].split('=')[1] ?? words[at + 1])
  try {
    return readFileSync(join(from, named ?? 'drover.yaml'), 'utf8')
  } catch {
    return ''
  }
}

/** Where an Ollama would be, by the variable that its own clients read. */
const ollamaUrl = () => {
  const given = (process.env.OLLAMA_HOST ?? '').trim()
  const [, scheme = 'http', host = '', port] = /^(?:(https?):\/\/)?(\[[^\]]*\]|[^:/]*)(?::(\d+))?/.exec(given) ?? []
  const reached = host === '' || host === '0.0.0.0' ? '127.0.0.1' : host
  return `${scheme}://${reached}:${port ?? (/^https?:/.test(given) ? { http: 80, https: 443 }[scheme] : 11434)}`
}

/** How many models the Ollama of this machine has; 0 when none answers. */
const ollamaModels = async (url) => {
  try {
    const response = await fetch(`${url}/api/tags`, { signal: AbortSignal.timeout(ASK_MS) })
    // A Drover that answers there has no models of its own.
    if (!response.ok || [...response.headers.keys()].some((name) => name.startsWith('x-drover'))) return 0
    return (await response.json()).models?.length ?? 0
  } catch {
    return 0
  }
}

/**
 * Why a worker that is started with these words needs no llama-server of ours, as the end of a sentence; `undefined` when it does.
 * A folder of models needs one in any case.
 */
export const whyNoLlama = async (words, from) => {
  if (gives(words, '--llama-server')) return '--llama-server names one'
  if (gives(words, '--models-dir') || process.env.DROVER_MODELS_DIR || hasModels()) return undefined
  const naming = NAMING.flat().find((name) => (name.startsWith('--') ? gives(words, name) : process.env[name]))
  if (naming) return `${naming} names an engine`
  if (/^\s*["']?engine["']?\s*:/m.test(configFile(words, from))) return 'the configuration file names an engine'
  const url = ollamaUrl()
  const models = await ollamaModels(url)
  return models > 0 ? `the Ollama at ${url} has ${models === 1 ? 'a model' : `${models} models`}` : undefined
}
