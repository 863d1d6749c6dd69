import { z } from 'zod'
import { jsonOf } from '../gateway-client.ts'

/** What stands in an error body of Ollama's API, else its beginning. */
export const refusal = (body: string): string => {
  const parsed = z.object({ error: z.string() }).safeParse(jsonOf(body))
  return parsed.success ? parsed.data.error : body.trim().slice(0, 300)
}

/** Whole lines, empty ones left out. */
export async function* lines({ body }: Response): AsyncGenerator<string> {
  if (!body) return
  let rest = ''
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + chunk).split('\n')
    rest = whole.pop() ?? ''
    for (const line of whole) if (line.trim() !== '') yield line
  }
  if (rest.trim() !== '') yield rest
}
