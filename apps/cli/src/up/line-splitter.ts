import { StringDecoder } from 'node:string_decoder'

/** A line that is longer is cut: nothing that a child prints may fill our memory. */
export const LONGEST_LINE = 16_384

/** Cuts a stream of bytes into lines; `end` gives what was left without a line end. */
export const lineSplitter = (onLine: (line: string) => void): { write: (chunk: Buffer) => void; end: () => void } => {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  const take = (text: string): void => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line.replace(/\r$/, '').slice(0, LONGEST_LINE))
    for (; rest.length >= LONGEST_LINE; rest = rest.slice(LONGEST_LINE)) onLine(rest.slice(0, LONGEST_LINE))
  }
  return {
    write: (chunk) => take(decoder.write(chunk)),
    end: () => {
      take(decoder.end())
      if (rest !== '') onLine(rest)
      rest = ''
    },
  }
}
