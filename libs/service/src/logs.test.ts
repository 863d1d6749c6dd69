import { expect, test } from 'vitest'
import { prettyLine } from './log-line.ts'
import { componentLog, createLog } from './logs.ts'

const collect = () => {
  const lines: string[] = []
  return { lines, log: createLog({ app: 'gateway', destination: { write: (line) => void lines.push(line) } }) }
}
const first = (lines: string[]): Record<string, unknown> => JSON.parse(lines[0] ?? '{}') as Record<string, unknown>

test('a line is JSON with the app, the component and the given fields', () => {
  const { lines, log } = collect()
  componentLog(log, 'reply').info({ job: '0-a', attempt: 1 }, 'started')
  expect(first(lines)).toMatchObject({ app: 'gateway', component: 'reply', job: '0-a', attempt: 1, msg: 'started', level: 30 })
})

test('secrets and the texts of clients do not get through', () => {
  const { lines, log } = collect()
  log.info(
    { apiKey: 'S1', headers: { authorization: 'S2', 'x-api-key': 'S3', host: 'kept' }, prompt: 'S4', job: { messages: ['S5'] } },
    'received',
  )
  expect(lines.join()).not.toMatch(/S\d/)
  expect(first(lines)).toMatchObject({ apiKey: '***', headers: { authorization: '***', host: 'kept' } })
})

test('a level that is not wanted costs no line', () => {
  const { lines, log } = collect()
  log.debug('x')
  expect(lines).toEqual([])
})

test('for people a JSON line becomes one short line, and any other text stays', () => {
  const { lines, log } = collect()
  componentLog(log, 'lease').warn({ job: '0-a', err: new Error('went away'), note: 'two words' }, 'lost a lease')
  expect(prettyLine(lines[0] ?? '')).toMatch(/^\d\d:\d\d:\d\d\.\d{3} warn  lease: lost a lease job=0-a err="went away" note="two words"$/)
  expect(prettyLine('  plain {text}  \n')).toBe('  plain {text}')
  expect(prettyLine('{"broken')).toBe('{"broken')
  expect(prettyLine('{"no":"level"}')).toBe('{"no":"level"}')
})
