import { readFileSync } from 'node:fs'
import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit, type Document as YamlDocument } from 'yaml'
import { EXIT, ExitError } from './exit.ts'

/** A YAML or JSON file that somebody has written by hand. */
export interface Document {
  value: unknown
  /** Name and line of the deepest part of a path that is there, for reports. */
  whereIs(path: readonly PropertyKey[]): string
}

/** Reads such a file, `-` for standard input; an empty one is `null`. @throws ExitError that names the lines */
export const readDocument = (path: string): Document => {
  const name = path === '-' ? 'standard input' : path
  let text: string
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8')
  } catch (error) {
    throw new ExitError(`${name} cannot be read (${error instanceof Error ? error.message : String(error)})`, EXIT.refused)
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const lineOf = (offset: number): string => `${name}:${lines.linePos(offset).line}`
  if (document.errors.length > 0) throw new ExitError(document.errors.map(({ pos, message }) => `${lineOf(pos[0])}: ${message}`).join('\n'), EXIT.refused)
  let value: unknown
  try {
    value = document.toJS()
  } catch (error) {
    throw new ExitError(`${lineOf(badAlias(document))}: ${error instanceof Error ? error.message : String(error)}`, EXIT.refused)
  }
  return {
    value,
    whereIs: (asked) => {
      let [node, offset]: [unknown, number] = [document.contents, 0]
      for (const part of asked) {
        const pair = isMap(node) ? node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(part)) : undefined
        const item = isSeq(node) ? node.items[Number(part)] : pair?.value
        const shown = pair?.key ?? item
        if (isNode(shown) && shown.range) [offset] = shown.range
        node = item
      }
      return lineOf(offset)
    },
  }
}

/** Where the alias stands for which a document has no value: the first one without an anchor before it, else the last, which is one too many. */
const badAlias = (document: YamlDocument): number => {
  const anchors = new Set<string>()
  let offset = 0
  visit(document, {
    Node(_, { anchor }: { anchor?: string }) {
      if (anchor !== undefined) anchors.add(anchor)
    },
    Alias(_, { source, range }) {
      offset = range?.[0] ?? offset
      return anchors.has(source) ? undefined : visit.BREAK
    },
  })
  return offset
}
