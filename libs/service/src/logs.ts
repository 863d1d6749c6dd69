import { type DestinationStream, type Logger, pino } from 'pino'
import { prettyLine } from './log-line.ts'
import { logOutput } from './log-output.ts'
import { MASK, SECRET_NAMES } from './secrets.ts'
import type { LOG_LEVELS } from './shared-settings.ts'

export type Log = Logger

export interface LogOptions {
  /** The app: `gateway`, `worker`. */
  app: string
  logLevel?: (typeof LOG_LEVELS)[number]
  logFormat?: 'auto' | 'json' | 'pretty'
  /** Where lines go instead of standard output. */
  destination?: DestinationStream
}

/** What clients sent or got; it has no place in a log, and is removed should it ever be put there. */
const TEXT_NAMES = ['prompt', 'messages', 'body', 'text', 'content']

const redacted = [...SECRET_NAMES, ...TEXT_NAMES].flatMap((name) => {
  const path = /^[A-Za-z_]+$/.test(name) ? name : `["${name}"]`
  return [path, path.startsWith('[') ? `*${path}` : `*.${path}`]
})

const pretty: DestinationStream = { write: (line) => void process.stdout.write(`${prettyLine(line)}\n`) }

/** The process' log: one JSON line per event, or a line for people on a terminal. */
export const createLog = ({ app, logLevel = 'info', logFormat = 'auto', destination }: LogOptions): Log => {
  const forPeople = logFormat === 'pretty' || (logFormat === 'auto' && process.stdout.isTTY)
  return pino(
    {
      level: logLevel,
      base: { app },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: redacted, censor: MASK },
    },
    destination ?? (forPeople ? pretty : logOutput(process.stdout.fd)),
  )
}

/** A part of the process, named in each of its lines. */
export const componentLog = (log: Log, component: string): Log => log.child({ component })
