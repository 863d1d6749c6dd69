import { readFileSync } from 'node:fs'
import { LineCounter, isMap, isNode, isScalar, parseDocument } from 'yaml'
import { didYouMean } from './nearest.ts'

export interface FileValue {
  value: unknown
  /** File and line, for reports. */
  where: string
}

export interface ConfigFile {
  /** Section, then key. */
  sections: Map<string, Map<string, FileValue>>
  problems: string[]
}

const empty = (...problems: string[]): ConfigFile => ({ sections: new Map(), problems })

/** Reads a YAML file of sections that hold settings; whatever is wrong with it comes back as problems, with line numbers. */
export const readConfigFile = (path: string, knownSections: readonly string[]): ConfigFile => {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    return empty(`file ${path}: cannot be read (${error instanceof Error ? error.message : String(error)})`)
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const whereIs = (node: unknown): string =>
    isNode(node) && node.range ? `${path}:${lines.linePos(node.range[0]).line}` : path
  if (document.errors.length > 0) {
    return empty(...document.errors.map(({ pos, message }) => `file ${path}:${lines.linePos(pos[0]).line}: ${message}`))
  }
  const { contents } = document
  if (contents === null || (isScalar(contents) && contents.value === null)) return empty()
  if (!isMap(contents)) return empty(`file ${whereIs(contents)}: expected sections (${knownSections.join(', ')}) with settings in them`)

  const file = empty()
  for (const { key, value } of contents.items) {
    const section = String(isScalar(key) ? key.value : key)
    if (!knownSections.includes(section)) {
      file.problems.push(`file ${whereIs(key)}: ${section}: unknown section${didYouMean(section, knownSections)}`)
    } else if (isMap(value)) {
      const entries = value.items.map((pair) => {
        const name = String(isScalar(pair.key) ? pair.key.value : pair.key)
        return [name, { value: isNode(pair.value) ? pair.value.toJS(document) : null, where: whereIs(pair.key) }] as const
      })
      file.sections.set(section, new Map(entries))
    } else if (!isScalar(value) || value.value !== null) {
      file.problems.push(`file ${whereIs(key)}: ${section}: expected settings, one per line, as name: value`)
    }
  }
  return file
}
