import { createInterface, type Interface } from 'node:readline'
import { ExitError } from '@drover/service'
import type { Message } from './request.ts'

export interface ChatOptions {
  input: NodeJS.ReadableStream
  /** Where prompts and what we have to say go. */
  output: NodeJS.WritableStream
  terminal: boolean
  /** Answers a conversation, showing the answer; resolves with its text so far when the signal ends it. */
  answer(messages: readonly Message[], signal: AbortSignal): Promise<string>
}

const HELP = `  /clear      forget the conversation
  /bye        end (Ctrl-D does too)
  /?          this text
  """         begins and ends a message of several lines
  Ctrl-C      stops the answer under way; ends where there is none
`
const PROMPT = '>>> '
const MORE = '... '
const QUOTES = '"""'

/** Lines as somebody types or pastes them, kept until they are asked for; `undefined` after the last. */
class Lines {
  #waiting: string[] = []
  #asked: ((line: string | undefined) => void) | undefined
  #closed = false

  constructor(reader: Interface) {
    reader.on('line', (line) => (this.#asked ? this.#give(line) : this.#waiting.push(line)))
    reader.on('close', () => {
      this.#closed = true
      this.#give(undefined)
    })
  }

  #give(line: string | undefined): void {
    this.#asked?.(line)
    this.#asked = undefined
  }

  /** `onEmpty` is called when somebody has to type first. */
  next(onEmpty: () => void): Promise<string | undefined> {
    const line = this.#waiting.shift()
    if (line !== undefined || this.#closed) return Promise.resolve(line)
    onEmpty()
    return new Promise((resolve) => (this.#asked = resolve))
  }
}

/** A conversation until `/bye`, Ctrl-D, or Ctrl-C with nothing typed and nothing under way. */
export const chat = async ({ input, output, terminal, answer }: ChatOptions): Promise<void> => {
  const reader = createInterface({ input, output, terminal, prompt: PROMPT })
  const lines = new Lines(reader)
  const say = (text: string): void => void output.write(text)
  const prompt = (text: string) => (): void => {
    reader.setPrompt(text)
    reader.prompt()
  }
  let messages: Message[] = []
  let underWay: AbortController | undefined
  let open: string[] | undefined

  reader.on('SIGINT', () => {
    if (underWay) return underWay.abort()
    if (reader.line === '' && open === undefined) return reader.close()
    // What is typed so far is dropped.
    open = undefined
    reader.write(null, { ctrl: true, name: 'e' })
    reader.write(null, { ctrl: true, name: 'u' })
    say('\n')
    prompt(PROMPT)()
  })

  const ask = async (content: string): Promise<void> => {
    const asked: Message[] = [...messages, { role: 'user', content }]
    underWay = new AbortController()
    try {
      const text = await answer(asked, underWay.signal)
      messages = [...asked, { role: 'assistant', content: text }]
    } catch (error) {
      // The conversation goes on as if it had not been asked.
      if (!(error instanceof ExitError)) throw error
      say(`${error.message}\n`)
    } finally {
      underWay = undefined
    }
  }

  try {
    for (;;) {
      const line = await lines.next(prompt(open ? MORE : PROMPT))
      if (line === undefined) break
      if (open) {
        const end = line.trimEnd().endsWith(QUOTES)
        open.push(end ? line.trimEnd().slice(0, -QUOTES.length) : line)
        if (!end) continue
        const content = open.join('\n').trim()
        open = undefined
        if (content !== '') await ask(content)
        continue
      }
      const text = line.trim()
      if (text === '') continue
      if (text.startsWith(QUOTES)) {
        const rest = text.slice(QUOTES.length)
        if (rest.endsWith(QUOTES)) await ask(rest.slice(0, -QUOTES.length).trim())
        else open = [rest]
      } else if (text === '/bye' || text === '/exit') break
      else if (text === '/clear') {
        messages = []
        say('The conversation is forgotten.\n')
      } else if (text === '/?' || text === '/help') say(HELP)
      else if (/^\/\w+$/.test(text)) say(`${text} is no command: /? lists them\n`)
      else await ask(text)
    }
  } finally {
    reader.close()
    if (terminal) say('\n')
  }
}
