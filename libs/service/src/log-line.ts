const LEVELS = new Map([
  [10, 'trace'],
  [20, 'debug'],
  [30, 'info '],
  [40, 'warn '],
  [50, 'ERROR'],
  [60, 'FATAL'],
])
const HIDDEN = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'app', 'component'])

const show = (value: unknown): string => (typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value))

const fields = (line: object): string =>
  Object.entries(line)
    .filter(([name]) => !HIDDEN.has(name))
    .map(([name, value]) => ` ${name}=${show(name === 'err' && value instanceof Object && 'message' in value ? value.message : value)}`)
    .join('')

const parsed = (text: string): Record<string, unknown> | undefined => {
  if (!text.startsWith('{')) return undefined
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return undefined
  }
}

/** A JSON log line for people, on one line; any other text stays as it is. */
export const prettyLine = (text: string): string => {
  const line = parsed(text)
  if (typeof line?.['level'] !== 'number') return text.trimEnd()
  const { level, time, component, msg } = line
  const clock = typeof time === 'string' ? time.slice(11, 23) : typeof time === 'number' ? new Date(time).toISOString().slice(11, 23) : ''
  const place = typeof component === 'string' ? ` ${component}:` : ''
  return `${clock} ${LEVELS.get(level as number) ?? String(level)}${place} ${typeof msg === 'string' ? msg : ''}${fields(line)}`
}
