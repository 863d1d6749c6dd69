import { accessSync, constants, existsSync } from 'node:fs'
import { readdir, statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { findProgram, type Program } from '../../find-program.ts'
import { localUrl } from '../client-settings.ts'
import { size } from '../units.ts'
import { fail, type Finding, ok, warn } from './check.ts'
import { olderThan } from './versions.ts'

/** Strips types by itself, and has what our HTTP client wants. */
const NODE_LEAST = '22.19'
const NODE_ADVISED = '24.0'

export const checkNode = (version = process.version): Finding => {
  if (olderThan(version, NODE_LEAST)) return fail('node', `Node ${version} is too old`, `install Node ${NODE_LEAST} or newer; "npm start" brings one`)
  if (olderThan(version, NODE_ADVISED)) return warn('node', `Node ${version} works, but 24 is what Drover is tested with`, 'install Node 24 when you can')
  return ok('node', `Node ${version}`)
}

const tryPort = (host: string, port: number): Promise<NodeJS.ErrnoException | undefined> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', resolve)
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })

/** The gateway's port: free, or a gateway's already. */
export const checkGatewayPort = async (host: string, port: number): Promise<Finding> => {
  const name = 'gateway port'
  const place = `${host}:${port}`
  const error = await tryPort(host, port)
  if (error === undefined) return ok(name, `${place} is free`)
  if (error.code !== 'EADDRINUSE') return fail(name, `${place} cannot be used (${error.message})`, 'correct --host or --port')
  const drover = await fetch(localUrl(host, port), { signal: AbortSignal.timeout(2_000) }).then(
    async (response) => (await response.body?.cancel(), response.headers.get('x-drover')),
    () => null,
  )
  if (drover !== null) return ok(name, `${place} is Drover’s (${drover})`)
  return fail(name, `${place} is in use by another program`, 'stop that one, or give the gateway another port with --port')
}

const may = (path: string, mode: number): NodeJS.ErrnoException | undefined => {
  try {
    accessSync(path, mode)
    return undefined
  } catch (error) {
    return error as NodeJS.ErrnoException
  }
}

/** The folder itself, or the one that it would be made in. */
const existing = (path: string): string => (may(path, constants.F_OK)?.code === 'ENOENT' && dirname(path) !== path ? existing(dirname(path)) : path)

const LITTLE = 1e9
const NOTHING = 1e8

export const checkDataFolder = async (folder: string): Promise<Finding> => {
  const name = 'data folder'
  const place = existing(folder)
  const refused = may(place, constants.W_OK | constants.X_OK)
  if (refused) return fail(name, `${place} cannot be written (${refused.code})`, 'give yourself the right, or name another folder with --data')
  const { bavail, bsize } = await statfs(place)
  const text = `${folder}${place === folder ? '' : ' (not made yet)'}, ${size(bavail * bsize)} free`
  const step = 'make room, or name a folder elsewhere with --data'
  if (bavail * bsize < NOTHING) return fail(name, `${text}: Redis stops when its disk is full`, step)
  return bavail * bsize < LITTLE ? warn(name, text, step) : ok(name, text)
}

export interface Wanted {
  name: string
  told: string | undefined
  program: Program
  /** What is missing without it, and where it comes from. */
  without: string
  step: string
}

export const checkProgram = ({ name, told, program, without, step }: Wanted): Finding => {
  const found = findProgram(told, program, process.env['PATH'] ?? '')
  if (found !== undefined) return ok(name, found)
  return told === undefined ? warn(name, `not found: ${without}`, step) : fail(name, `${told} is no program that can be run`, 'correct its path')
}

/** The folder named, else the one that `drover up` makes in the data folder, which may be absent or empty. */
export const checkModelsFolder = async (named: string | undefined, data: string): Promise<Finding> => {
  const name = 'models folder'
  const folder = named ?? join(data, 'models')
  if (named === undefined && !existsSync(folder)) return ok(name, '"drover up" makes one; a worker alone has none unless told (DROVER_MODELS_DIR)')
  try {
    const files = (await readdir(folder)).filter((file) => file.toLowerCase().endsWith('.gguf'))
    if (files.length > 0) return ok(name, `${folder}, ${files.length} GGUF files`)
    if (named === undefined) return ok(name, `${folder}, empty: files put there are served by llama.cpp`)
    return warn(name, `${folder} holds no GGUF file`, 'put model files there')
  } catch (error) {
    return fail(name, `${folder} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'no reason given'})`, 'make it, or correct DROVER_MODELS_DIR')
  }
}
