import { canonicalName } from '@drover/core'

/** What a Modelfile says of a model that is made from another, as fields of `/api/create`. */
export interface Modelfile {
  from?: string
  parameters?: Record<string, unknown>
  system?: string
  template?: string
  messages?: { role: string; content: string }[]
  license?: string[]
  renderer?: string
  parser?: string
  requires?: string
}

/** Something in it that is wrong, or that is not taken. */
export class ModelfileError extends Error {
  override readonly name = 'ModelfileError'
  readonly line: number
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`)
    this.line = line
  }
}

const NUMBERS = new Set([
  'num_keep', 'seed', 'num_predict', 'top_k', 'top_p', 'min_p', 'typical_p', 'repeat_last_n', 'temperature', 'repeat_penalty', 'presence_penalty', 'frequency_penalty', 'num_ctx', 'num_batch', 'num_gpu',
  'main_gpu', 'num_thread', 'draft_num_predict',
])
const ROLES = new Set(['system', 'user', 'assistant'])
const FILE = /^([./~]|[a-z]:[\\/])|\\|\.(gguf|safetensors|bin)$/i

/** A text without its quotes: `"…"`, or `"""…"""`, over several lines also. `undefined`: it goes on. */
const unquoted = (text: string): string | undefined => {
  const quotes = /^("""|")/.exec(text)?.[0]
  if (quotes === undefined) return text
  return text.length >= 2 * quotes.length && text.endsWith(quotes) ? text.slice(quotes.length, -quotes.length) : undefined
}

interface Instruction {
  line: number
  name: string
  /** Its first word, where what it says begins with one: the name of a parameter, a role. */
  key: string
  value: string
}

/** Instructions whose value has a word of its own before it. */
const KEYED = new Set(['parameter', 'message'])

/** @throws ModelfileError for quotes that do not end, and an instruction that says nothing */
const instructionsIn = (text: string): Instruction[] => {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  const found: Instruction[] = []
  for (let i = 0; i < lines.length; i += 1) {
    const first = (lines[i] ?? '').trim()
    if (first === '' || first.startsWith('#')) continue
    const line = i + 1
    const [, word = '', rest = ''] = /^(\S+)\s*([^]*)$/.exec(first) ?? []
    const name = word.toLowerCase()
    const [, key = '', begun = ''] = KEYED.has(name) ? (/^(\S+)\s*([^]*)$/.exec(rest) ?? []) : ['', '', rest]
    let raw = begun
    let value = unquoted(raw)
    while (value === undefined) {
      i += 1
      if (i === lines.length) throw new ModelfileError(line, 'the quotes that begin here do not end')
      raw = `${raw}\n${lines[i]}`
      value = unquoted(raw.trimEnd())
    }
    if (raw === '') throw new ModelfileError(line, `${word.slice(0, 40)} says nothing`)
    found.push({ line, name, key, value })
  }
  return found
}

const parameterOf = ({ line, key, value }: Instruction): unknown => {
  if (key === 'stop') return value
  if (key === 'use_mmap') {
    if (value !== 'true' && value !== 'false') throw new ModelfileError(line, `${key} is true or false`)
    return value === 'true'
  }
  if (!NUMBERS.has(key)) throw new ModelfileError(line, `'${key.slice(0, 40)}' is no parameter that is known`)
  const number = Number(value)
  if (value.trim() === '' || !Number.isFinite(number)) throw new ModelfileError(line, `${key} is a number`)
  return number
}

const take = (file: Modelfile, instruction: Instruction): void => {
  const { line, name, key, value } = instruction
  switch (name) {
    case 'from':
      if (FILE.test(value)) throw new ModelfileError(line, 'FROM a file is not taken yet: run "ollama create" on the node that is to hold the model')
      if (!canonicalName(value)) throw new ModelfileError(line, `FROM takes the name of a model, not '${value.slice(0, 60)}'`)
      if (file.from !== undefined) throw new ModelfileError(line, 'there is a FROM before this one')
      file.from = value
      return
    case 'parameter': {
      const given = parameterOf(instruction)
      const parameters = (file.parameters ??= {})
      if (key === 'stop') parameters['stop'] = [...((parameters['stop'] as unknown[] | undefined) ?? []), given]
      else parameters[key] = given
      return
    }
    case 'message':
      if (!ROLES.has(key.toLowerCase())) throw new ModelfileError(line, `a message is of system, user or assistant, not of '${key.slice(0, 40)}'`)
      file.messages = [...(file.messages ?? []), { role: key.toLowerCase(), content: value }]
      return
    case 'license':
      file.license = [...(file.license ?? []), value]
      return
    case 'system':
    case 'template':
    case 'renderer':
    case 'parser':
    case 'requires':
      file[name] = value
      return
    case 'adapter':
      throw new ModelfileError(line, 'ADAPTER takes a file, which is not taken yet: run "ollama create" on the node that is to hold the model')
    default:
      throw new ModelfileError(line, `'${name.slice(0, 40)}' is no instruction that is known`)
  }
}

/** Reads a Modelfile. @throws ModelfileError with the line of what it does not know */
export const parseModelfile = (text: string): Modelfile => {
  const file: Modelfile = {}
  for (const instruction of instructionsIn(text)) take(file, instruction)
  return file
}
