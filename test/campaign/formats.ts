/** The routes on which text is generated, as a plain client sees them. */
export const DIALECTS = ['ollama.chat', 'ollama.generate', 'openai.chat', 'openai.completions', 'openai.responses', 'anthropic.messages'] as const
export type DialectName = (typeof DIALECTS)[number]

export const PATHS: Record<DialectName, string> = {
  'ollama.chat': '/api/chat',
  'ollama.generate': '/api/generate',
  'openai.chat': '/v1/chat/completions',
  'openai.completions': '/v1/completions',
  'openai.responses': '/v1/responses',
  'anthropic.messages': '/v1/messages',
}

export interface Wish {
  model: string
  prompt: string
  stream: boolean
  sampling: 'zero' | 'seed' | 'free'
  /** Most tokens wanted. */
  limit?: number | undefined
}

/** A request's body in the form of the dialect. */
export const bodyOf = (dialect: DialectName, { model, prompt, stream, sampling, limit }: Wish): string => {
  const temperature = sampling === 'zero' ? { temperature: 0 } : {}
  const seed = sampling === 'seed' ? { seed: 7 } : {}
  const messages = [{ role: 'user', content: prompt }]
  const most = (name: string) => (limit === undefined ? {} : { [name]: limit })
  switch (dialect) {
    case 'ollama.chat':
    case 'ollama.generate': {
      const options = { ...temperature, ...seed, ...most('num_predict') }
      return JSON.stringify({ model, stream, ...(dialect === 'ollama.chat' ? { messages } : { prompt }), options })
    }
    case 'openai.chat': return JSON.stringify({ model, stream, messages, ...temperature, ...seed, ...most('max_tokens') })
    case 'openai.completions': return JSON.stringify({ model, stream, prompt, ...temperature, ...seed, max_tokens: limit ?? 4096 })
    // Neither of the two has a seed.
    case 'openai.responses': return JSON.stringify({ model, stream, input: prompt, ...temperature, ...most('max_output_tokens') })
    case 'anthropic.messages': return JSON.stringify({ model, stream, messages, ...temperature, max_tokens: limit ?? 4096 })
    default: return dialect satisfies never
  }
}

type Fields = Record<string, unknown>
const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null
const fields = (value: unknown): Fields => (isFields(value) ? value : {})
const list = (value: unknown): Fields[] => (Array.isArray(value) ? value.filter(isFields) : [])
const string = (value: unknown): string => (typeof value === 'string' ? value : '')

/** What one event, or a whole body, says. */
export interface Said {
  text: string
  /** It is the dialect's own end of a good answer. */
  ends: boolean
  error: string | undefined
}

const errorIn = (event: Fields): string | undefined => {
  const { error } = event
  if (error === undefined || error === null) return undefined
  return typeof error === 'string' ? error : string(fields(error)['message']) || JSON.stringify(error)
}

/** One event of a stream. `data` is the JSON text, or `[DONE]`. @throws SyntaxError for what is not JSON */
export const readEvent = (dialect: DialectName, data: string): Said => {
  if (data === '[DONE]') return { text: '', ends: dialect !== 'openai.responses', error: undefined }
  const event = fields(JSON.parse(data))
  const error = errorIn(event)
  switch (dialect) {
    case 'ollama.chat': return { text: string(fields(event['message'])['content']), ends: event['done'] === true, error }
    case 'ollama.generate': return { text: string(event['response']), ends: event['done'] === true, error }
    case 'openai.chat': return { text: list(event['choices']).map(({ delta }) => string(fields(delta)['content'])).join(''), ends: false, error }
    case 'openai.completions': return { text: list(event['choices']).map(({ text }) => string(text)).join(''), ends: false, error }
    case 'openai.responses': {
      const type = event['type']
      const failed = type === 'response.failed' ? (errorIn(fields(event['response'])) ?? 'failed') : undefined
      return { text: type === 'response.output_text.delta' ? string(event['delta']) : '', ends: type === 'response.completed' || type === 'response.incomplete', error: type === 'error' ? (error ?? string(event['message'])) : failed }
    }
    case 'anthropic.messages': return { text: string(fields(event['delta'])['text']), ends: event['type'] === 'message_stop', error }
    default: return dialect satisfies never
  }
}

/** A whole answer. @throws SyntaxError for what is not JSON */
export const readWhole = (dialect: DialectName, body: string): Said => {
  const answer = fields(JSON.parse(body))
  const error = errorIn(answer)
  const said = (text: string, ends: boolean): Said => ({ text, ends: ends && error === undefined, error })
  const [choice = {}] = list(answer['choices'])
  switch (dialect) {
    case 'ollama.chat': return said(string(fields(answer['message'])['content']), answer['done'] === true)
    case 'ollama.generate': return said(string(answer['response']), answer['done'] === true)
    case 'openai.chat': return said(string(fields(choice['message'])['content']), choice['finish_reason'] !== undefined)
    case 'openai.completions': return said(string(choice['text']), choice['finish_reason'] !== undefined)
    case 'openai.responses': {
      const content = list(answer['output']).flatMap((item) => list(item['content']))
      return said(content.map(({ text }) => string(text)).join(''), answer['status'] === 'completed' || answer['status'] === 'incomplete')
    }
    case 'anthropic.messages': return said(list(answer['content']).map(({ text }) => string(text)).join(''), typeof answer['stop_reason'] === 'string')
    default: return dialect satisfies never
  }
}

/** Cuts a stream's text into the data of its events. */
export const eventReader = (dialect: DialectName, take: (data: string) => void): ((chunk: string) => void) => {
  let rest = ''
  const sse = !dialect.startsWith('ollama.')
  return (chunk) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') continue
      if (!sse) take(line)
      else if (line.startsWith('data: ')) take(line.slice('data: '.length))
    }
  }
}
