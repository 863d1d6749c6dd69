/** An event as it came; `id` is '' where it has none of its own. */
export interface ServerEvent {
  id: string
  data: string
}

/** The events of a `text/event-stream`, comments left out. What is cut off at the end is none. */
export async function* serverEvents({ body }: Response): AsyncGenerator<ServerEvent> {
  if (!body) return
  let rest = ''
  let id = ''
  let data: string[] = []
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const each of lines) {
      const line = each.endsWith('\r') ? each.slice(0, -1) : each
      if (line === '') {
        if (data.length > 0) yield { id, data: data.join('\n') }
        id = ''
        data = []
      } else if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5))
      else if (line.startsWith('id:')) id = line.slice(3).trim()
    }
  }
}
