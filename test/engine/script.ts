/**
 * What a request is told to meet. The same names stand in a prompt (`job=k7 tokens=40 rate=50 stall_at=10`), in the rules set
 * through the admin route, and in `set`. A place `k` means "before token k is sent", and is passed by a run that continues a
 * partial answer of k tokens or more.
 */
export interface Script {
  /** Tokens of the whole answer. */
  tokens?: number
  /** Tokens a second, evenly spaced; 0: as fast as it is read. */
  rate?: number
  /** Faults apply to the first `times` requests that meet this script; without it to all. */
  times?: number
  /** Waits this long with a slot in hand before header and first byte. */
  first_ms?: number
  /** Keeps its slot and sends no header until released. */
  hold?: number
  /** Keeps its slot and never sends a header. */
  silent?: number
  /** Closes the connection instead of an answer. */
  drop?: number
  /** Answers with this status instead. */
  fail?: number
  /** Answers 200 with something that is not the protocol: `html`, `text` or `empty`. */
  nonsense?: string
  stall_at?: number
  /** Ends a stall by itself. */
  stall_ms?: number
  /** The whole engine ends. */
  die_at?: number
  /** The connection is torn down. */
  cut_at?: number
  /** The answer ends cleanly, without its end event. */
  eof_at?: number
  /** An error event, then the end of the answer. */
  error_at?: number
  /** A line that is not the protocol, then the answer goes on. Streams only. */
  garbage_at?: number
  /** The next character of several bytes comes in two chunks, cut inside. Streams only. */
  split_at?: number
  /** A byte that is not UTF-8 stands in the token. Streams only. */
  bad_byte_at?: number
  /** A line of 9 MB, longer than any reader should put up with. Streams only. */
  giant_at?: number
}

const NUMBERS = [
  'tokens', 'rate', 'times', 'first_ms', 'hold', 'silent', 'drop', 'fail', 'stall_at', 'stall_ms',
  'die_at', 'cut_at', 'eof_at', 'error_at', 'garbage_at', 'split_at', 'bad_byte_at', 'giant_at',
] as const satisfies (keyof Script)[]
const numeric = new Set<string>(NUMBERS)
const isNumeric = (name: string): name is (typeof NUMBERS)[number] => numeric.has(name)

/** What of a script stays when its faults are used up. */
const calm = ({ tokens, rate, first_ms }: Script): Script => ({
  ...(tokens === undefined ? {} : { tokens }),
  ...(rate === undefined ? {} : { rate }),
  ...(first_ms === undefined ? {} : { first_ms }),
})

/** A script with the count of requests that met it. */
export interface Rule {
  script: Script
  met: number
}

/** Counts one more request that meets the rule, and gives what it must do. */
export const meet = (rule: Rule): Script => (rule.met++ < (rule.script.times ?? Infinity) ? rule.script : calm(rule.script))

const FIELD = /([a-z_]+)=([A-Za-z0-9_.-]+)[ \t]*/y

/** The job marker of a prompt: `job=KEY` and the fields right behind it. The last one counts. */
export const readMarker = (prompt: string): { key: string; script: Script } | undefined => {
  let start = prompt.lastIndexOf('job=')
  while (start > 0 && /\w/.test(prompt[start - 1] ?? '')) start = prompt.lastIndexOf('job=', start - 1)
  if (start < 0) return undefined
  let key: string | undefined
  const script: Script = {}
  FIELD.lastIndex = start
  for (let field = FIELD.exec(prompt); field; field = FIELD.exec(prompt)) {
    const [, name = '', value = ''] = field
    if (name === 'job') key = value
    else if (name === 'nonsense') script.nonsense = value
    else if (isNumeric(name) && Number.isFinite(Number(value))) script[name] = Number(value)
  }
  return key === undefined || !/^[A-Za-z0-9_-]{1,64}$/.test(key) ? undefined : { key, script }
}

/** A script out of JSON that came over the wire. @throws Error naming the field that is not one */
export const readScript = (value: unknown): Script => {
  if (typeof value !== 'object' || value === null) throw new Error('a script is an object')
  const script: Script = {}
  for (const [name, field] of Object.entries(value)) {
    if (name === 'nonsense' && typeof field === 'string') script.nonsense = field
    else if (isNumeric(name) && typeof field === 'number') script[name] = field
    else throw new Error(`"${name}" is not a field of a script, or not of its type`)
  }
  return script
}
