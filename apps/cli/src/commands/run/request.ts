import { ExitError } from '@drover/service'

/** What is sent with every question of a conversation. */
export interface ChatSettings {
  model: string
  system?: string | undefined
  /** Ollama's `options`: temperature, num_predict, seed, stop and so on. */
  options: Record<string, unknown>
  think?: boolean | string | undefined
}

export interface Message {
  role: 'system' | 'user' | 'assistant'
  content: string
}

/** Reads `temperature=0`: the value is JSON where it is JSON, else text; a name given more than once becomes a list. */
export const readOptions = (given: readonly string[]): Record<string, unknown> => {
  const options: Record<string, unknown> = {}
  for (const text of given) {
    const at = text.indexOf('=')
    const name = text.slice(0, at).trim()
    if (at < 0 || name === '') throw new ExitError(`--option ${text}: expected name=value, like temperature=0`)
    const value = valueOf(text.slice(at + 1))
    const known = options[name]
    options[name] = known === undefined ? value : [...(Array.isArray(known) ? (known as unknown[]) : [known]), value]
  }
  return options
}

const valueOf = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The body of `POST /api/chat`. */
export const chatBody = ({ model, system, options, think }: ChatSettings, messages: readonly Message[]): string =>
  JSON.stringify({
    model,
    messages: [...(system === undefined ? [] : [{ role: 'system', content: system }]), ...messages],
    stream: true,
    ...(Object.keys(options).length > 0 && { options }),
    ...(think !== undefined && { think }),
  })
