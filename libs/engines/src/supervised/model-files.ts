import { readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { BrokerError } from '@drover/core'
import type { ModelName } from '@drover/core'
import { nameOfFile } from '../model-file.ts'
import type { GgufFacts } from './gguf-facts.ts'
import { readGgufHeaders } from './gguf-header.ts'
import type { GgufReading } from './gguf-header.ts'
import { allWeights, shapeWith } from './gguf-weights.ts'

/** A model that lies as one GGUF file, or several parts of one. */
export interface ModelFile {
  /** From the file's name alone: what an operator reads in the folder is what a client writes. */
  model: ModelName
  /** The file, or its first part: llama.cpp finds the others by their names. */
  path: string
  /** Bytes of all parts. */
  size: number
  /** RFC 3339. */
  modifiedAt: string
  /** Of the first part; `parameters`, `weights` and `shape` of all. */
  facts: GgufFacts
  /** Changes with the file. */
  stamp: string
}

interface Part {
  path: string
  size: number
  modified: number
}

const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i

/** The `.gguf` files of a folder, by its links too; folders in it are not searched. @throws BrokerError `engine_failed` */
export const ggufFilesIn = async (folder: string): Promise<string[]> => {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new BrokerError('engine_failed', `the models folder ${folder} cannot be read (${error.code ?? error.message}): make it, or correct DROVER_MODELS_DIR`)
  })
  return names.filter((name) => /\.gguf$/i.test(name)).toSorted().map((name) => join(folder, name))
}

/**
 * The models that a list of files holds, asked for again whenever somebody wants to know: a header is read again only when its file has
 * another size or date. What cannot be used is left out, and `onLeftOut` hears of it once for each reason.
 */
export const modelFiles = (list: () => Promise<string[]>, onLeftOut: (file: string, reason: string) => void) => {
  const known = new Map<string, GgufReading>()
  const told = new Set<string>()
  let running: Promise<ModelFile[]> | undefined

  const leaveOut = (path: string, reason: string): void => {
    if (!told.has(path + reason)) onLeftOut(basename(path), reason)
    told.add(path + reason)
  }

  const read = async (): Promise<ModelFile[]> => {
    const parts = (await Promise.all((await list()).map(partAt))).filter((part) => part !== undefined)
    const fresh = parts.filter((part) => !known.has(stampOf(part)))
    const readings = fresh.length > 0 ? await readGgufHeaders(fresh.map(({ path }) => path)) : []
    for (const [i, reading] of readings.entries()) {
      const part = fresh[i]
      if (part) known.set(stampOf(part), reading)
    }
    const present = new Set(parts.map(stampOf))
    for (const stamp of known.keys()) if (!present.has(stamp)) known.delete(stamp)

    const models = new Map<ModelName, ModelFile>()
    for (const group of grouped(parts)) {
      const made = modelOf(group, known)
      const [first] = group
      if (!first) continue
      if (typeof made === 'string') leaveOut(first.path, made)
      else if (models.has(made.model)) leaveOut(first.path, `another file is called ${made.model} already`)
      else models.set(made.model, made)
    }
    return [...models.values()]
  }

  /** One reading at a time: who asks meanwhile gets the same answer. */
  return (): Promise<ModelFile[]> => (running ??= read().finally(() => (running = undefined)))
}

const partAt = async (path: string): Promise<Part | undefined> => {
  const found = await stat(path).catch(() => undefined)
  return found?.isFile() ? { path, size: found.size, modified: found.mtimeMs } : undefined
}

const stampOf = ({ path, size, modified }: Part): string => `${path}\0${size}\0${modified}`

/** Parts of one model together, first part first. */
const grouped = (parts: readonly Part[]): Part[][] => {
  const groups = new Map<string, Part[]>()
  for (const part of parts) {
    const [, stem, , of] = PART.exec(part.path) ?? []
    const key = stem === undefined ? part.path : `${stem}\0${of}`
    groups.set(key, [...(groups.get(key) ?? []), part])
  }
  return [...groups.values()]
}

/** The model of a group of parts, or why it is left out. */
const modelOf = (group: readonly Part[], known: ReadonlyMap<string, GgufReading>): ModelFile | string => {
  const [first] = group
  if (!first) return ''
  const count = Number(PART.exec(first.path)?.[3] ?? 1)
  if (group.length < count) return `only ${group.length} of its ${count} parts are there; it is left out until all are`
  const facts: GgufFacts[] = []
  for (const part of group) {
    const reading = known.get(stampOf(part))
    if (!reading || reading.kind === 'incomplete') return 'is not whole: still being written, or cut off; it is left out until it is'
    if (reading.kind === 'unreadable') return reading.reason
    facts.push(reading.facts)
  }
  const [main] = facts
  if (!main) return ''
  if (main.architecture === 'clip') return 'is a projector for images, no model by itself'
  const weights = allWeights(facts.map((each) => each.weights))
  return {
    model: nameOfFile(first.path),
    path: first.path,
    size: group.reduce((sum, { size }) => sum + size, 0),
    modifiedAt: new Date(Math.max(...group.map(({ modified }) => modified))).toISOString(),
    facts: { ...main, parameters: facts.reduce((sum, { parameters }) => sum + parameters, 0), weights, shape: shapeWith(weights, main.shape) },
    stamp: group.map(stampOf).join('\0'),
  }
}
