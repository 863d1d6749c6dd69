import { isObject, type JsonObject } from './delta.ts'
import type { Exchange } from './dialect.ts'
import { cutShort, sides } from './engine-side.ts'
import { eventPipe } from './event-pipe.ts'
import { asDocumented } from './messages-reader.ts'
import { wantsUsage } from './openai-writer.ts'
import { isPlain } from './plain-event.ts'
import { isNative, type EngineFormat, type GenerationRequest, type Route } from './route.ts'

/**
 * Where the field with the model's name stands in an event, -1 if it is not where engines write it. Native events begin with it;
 * further inside, a tool's arguments may hold a field that looks the same. In OpenAI's events, where arguments are text, the same
 * characters without a backslash are the field itself.
 */
const nameIn = (raw: string, field: string, native: boolean): number => {
  if (native) return raw.startsWith(field, 1) ? 1 : -1
  const at = raw.indexOf(field)
  return raw.indexOf(field, at + 1) < 0 ? at : -1
}

/** Formats whose events have the model's name one level down, in this field, and a line with their type. */
const NAME_WITHIN: Partial<Record<EngineFormat, string>> = { 'openai.responses': 'response', 'anthropic.messages': 'message' }

/** A stream in the client's own dialect: events are looked at and pass as they came, but for the few edits that are Drover's. */
export const untouchedStream = (request: GenerationRequest, route: Route): Exchange => {
  const { reader, cutter, ...common } = sides(request, route, true)
  const native = isNative(route.format)
  const asked = `"model":${JSON.stringify(request.asked)}`
  const within = NAME_WITHIN[route.format]
  const completions = route.format === 'openai.completions'
  // llama-server tells the usage of a completion in its last event, asked or not.
  const withUsage = native || within !== undefined || wantsUsage(request) || (completions && request.engine.kind === 'llama-server')
  const rewrite = (event: JsonObject) => {
    if (native) return `${JSON.stringify(event)}\n`
    return `${within === undefined ? '' : `event: ${String(event['type'])}\n`}data: ${JSON.stringify(event)}\n\n`
  }

  /** The event with the model's name as the client wrote it; one that spells its fields in an unusual way is written anew. */
  const renamed = (raw: string, event: JsonObject): string => {
    const outer = within === undefined ? undefined : event[within]
    if (within !== undefined)
      return isObject(outer) && outer['model'] !== undefined ? rewrite({ ...event, [within]: { ...outer, model: request.asked } }) : raw
    const { model } = event
    if (model === request.asked || model === undefined) return raw
    const field = `"model":${JSON.stringify(model)}`
    const at = nameIn(raw, field, native)
    if (at < 0) return rewrite({ ...event, model: request.asked })
    return raw.slice(0, at) + asked + raw.slice(at + field.length)
  }

  const passed = (raw: string, event: JsonObject): string => {
    if (route.format === 'anthropic.messages') {
      const documented = asDocumented(event)
      if (documented !== event) return renamed(rewrite(documented), documented)
    }
    const { usage, choices } = event
    if (usage === undefined || usage === null) return renamed(raw, event)
    // Ollama has a usage of zero in each event of a completion where OpenAI has none but in the last.
    if (withUsage && completions && isObject(usage) && usage['total_tokens'] === 0) return rewrite({ ...event, model: request.asked, usage: null })
    if (withUsage) return renamed(raw, event)
    const { usage: _usage, ...rest } = event
    return Array.isArray(choices) && choices.length === 0 ? '' : rewrite({ ...rest, model: request.asked })
  }

  /** The field with the model's name in a plain event that has been parsed: others that have it need not be. */
  let known: string | undefined

  const pipe = eventPipe(cutter, (raw, data) => {
    // Nothing counts after the end, and nothing may be sent after it.
    if (reader.ended) return ''
    const plain = isPlain(route.format, raw)
    // A piece of text does not name the model there.
    if (plain && within !== undefined) return raw
    if (plain && known !== undefined) {
      // Quotes within its strings are escaped, so these characters are the field.
      const at = raw.indexOf(known)
      if (at >= 0) return known === asked ? raw : raw.slice(0, at) + asked + raw.slice(at + known.length)
    }
    const event = reader.see(data)
    if (plain && event) known = `"model":${JSON.stringify(event['model'])}`
    return event ? passed(raw, event) : raw
  })

  return {
    ...common,
    get usage() {
      return reader.usage
    },
    get ended() {
      return reader.ended
    },
    push: pipe.push,
    finish() {
      const out = pipe.close()
      if (!reader.ended) throw cutShort()
      return out
    },
  }
}
