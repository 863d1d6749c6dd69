import { z } from 'zod'
import { jsonOf } from '../../gateway-client.ts'

const text = z.string().nullish()
const content = z.union([z.string(), z.array(z.object({ text }))]).nullish()

/** What of an event, or of a whole answer, is text, in any of the formats. */
const Said = z.object({
  // OpenAI's chat and completions
  choices: z.array(z.object({ delta: z.object({ content: text }).nullish(), message: z.object({ content: text }).nullish(), text })).optional(),
  // Ollama's chat and generate
  message: z.object({ content }).nullish().catch(undefined),
  response: text.catch(undefined),
  // Anthropic's events and messages, and the events of OpenAI's responses
  type: z.string().optional(),
  delta: z.union([z.string(), z.object({ text })]).nullish(),
  content,
  // OpenAI's responses
  output: z.array(z.object({ content: z.array(z.object({ text })).optional() })).optional(),
})

const joined = (value: z.infer<typeof content>): string => (typeof value === 'string' ? value : (value ?? []).map((part) => part.text ?? '').join(''))

/** The text that an event adds to an answer. An answer that is none, like embeddings, is shown as it is. */
export const textIn = (data: string): string => {
  if (data === '[DONE]') return ''
  const value = jsonOf(data)
  const { data: said } = Said.safeParse(value)
  if (!said) return data
  const { choices, message, response, type, delta, output } = said
  if (choices) return choices.map((choice) => choice.delta?.content ?? choice.message?.content ?? choice.text ?? '').join('')
  // An event of a stream, whose last ones tell the whole once more.
  if (type !== undefined && type !== 'message') return typeof delta === 'string' ? (type === 'response.output_text.delta' ? delta : '') : (delta?.text ?? '')
  if (type === 'message') return joined(said.content)
  if (output) return output.map((item) => joined(item.content)).join('')
  if (message) return joined(message.content)
  if (typeof response === 'string') return response
  return `${data}\n`
}

const Failure = z.object({ error: z.union([z.string(), z.object({ message: z.string() })]) })
const FailedResponse = z.object({ type: z.literal('error'), message: z.string() })

/** The error that an event tells; `undefined`: it tells none. */
export const errorIn = (data: string): string | undefined => {
  const value = jsonOf(data)
  const { data: failed } = Failure.safeParse(value)
  if (failed) return typeof failed.error === 'string' ? failed.error : failed.error.message
  return FailedResponse.safeParse(value).data?.message
}
