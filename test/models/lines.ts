export interface Line {
  status?: string
  digest?: string
  total?: number
  completed?: number
  error?: string
}

/** A pull over the wire, its lines as they come. `leave` closes its connection. */
export const pullLines = (url: string, body: object, headers: Record<string, string> = {}) => streamedLines(url, '/api/pull', body, headers)

/** The same of any route that tells lines. */
export const streamedLines = (url: string, path: string, body: object, headers: Record<string, string> = {}) => {
  const abort = new AbortController()
  const lines: Line[] = []
  const over = (async () => {
    const answer = await fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify(body), headers, signal: abort.signal })
    let rest = ''
    for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
      const all = (rest + chunk).split('\n')
      rest = all.pop() ?? ''
      lines.push(...all.map((line) => JSON.parse(line) as Line))
    }
    return { status: answer.status, headers: answer.headers }
  })()
  over.catch(() => undefined)
  return { lines, over, leave: () => abort.abort(), last: () => lines.at(-1) }
}

/** Bytes that a pull has told of each layer never become fewer. */
export const goesBack = (lines: readonly Line[]): boolean => {
  const seen = new Map<string, number>()
  return lines.some(({ digest, completed = 0 }) => {
    if (digest === undefined) return false
    const before = seen.get(digest) ?? 0
    seen.set(digest, completed)
    return completed < before
  })
}
