import { messagesBody, MessagesWriter } from './messages-writer.ts'
import { completionsBody, CompletionsWriter } from './completions-writer.ts'
import type { BodyWriter, EventWriter } from './delta.ts'
import { ollamaBody, OllamaWriter } from './ollama-events.ts'
import { openAiBody, OpenAiWriter } from './openai-writer.ts'
import { responsesBody, ResponsesWriter } from './responses-writer.ts'
import type { GenerationDialect, GenerationRequest } from './route.ts'

/** How answers are written in a client's dialect when they do not pass as the engine wrote them. */
interface ClientSide {
  writer(request: GenerationRequest): EventWriter
  body(request: GenerationRequest): BodyWriter
}

export const clientSides: Record<GenerationDialect, ClientSide> = {
  'ollama.chat': { writer: (request) => new OllamaWriter('chat', request), body: (request) => ollamaBody('chat', request) },
  'ollama.generate': { writer: (request) => new OllamaWriter('generate', request), body: (request) => ollamaBody('generate', request) },
  'openai.chat': { writer: (request) => new OpenAiWriter(request), body: openAiBody },
  'openai.completions': { writer: (request) => new CompletionsWriter(request), body: completionsBody },
  'openai.responses': { writer: (request) => new ResponsesWriter(request), body: responsesBody },
  'anthropic.messages': { writer: (request) => new MessagesWriter(request), body: messagesBody },
}
