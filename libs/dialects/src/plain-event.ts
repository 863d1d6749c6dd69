import type { EngineFormat } from './route.ts'

/** A JSON string, escapes included; what RFC 8259 allows and nothing else. */
const STRING = String.raw`"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"`
/** A short one, as in names and times: without escapes. */
const NAME = String.raw`"[^"\\\x00-\x1f]*"`

const native = (said: string) => new RegExp(String.raw`^\{"model":${NAME},"created_at":${NAME},${said},"done":false\}\n$`)

/** As llama-server spells it, and as Ollama does, whose later versions (v0.33) name the role in the first event only. */
const openAi = new RegExp(
  [
    String.raw`^data: \{"choices":\[\{"finish_reason":null,"index":0,"delta":\{"content":${STRING}\}\}\],"created":\d+,"id":${NAME},"model":${NAME},"system_fingerprint":${NAME},"object":"chat\.completion\.chunk"\}\n\n$`,
    String.raw`^data: \{"id":${NAME},"object":"chat\.completion\.chunk","created":\d+,"model":${NAME},"system_fingerprint":${NAME},"choices":\[\{"index":0,"delta":\{(?:"role":"assistant",)?"content":${STRING}\},"finish_reason":null\}\]\}\n\n$`,
  ].join('|'),
)

const messages = new RegExp(
  String.raw`^event: content_block_delta\ndata: \{"type":"content_block_delta","index":\d+,"delta":\{"type":"text_delta","text":${STRING}\}\}\n\n$`,
)

const patterns: Partial<Record<EngineFormat, RegExp>> = {
  'ollama.chat': native(String.raw`"message":\{"role":"assistant","content":${STRING}\}`),
  'ollama.generate': native(`"response":${STRING}`),
  'openai.chat': openAi,
  'anthropic.messages': messages,
}

/**
 * Whether an event, `raw` as the engine spelt it, is valid and says nothing but a piece of text of the first choice: nearly all of a
 * stream. To know that takes a quarter of the time that parsing it does. False may also mean an unusual spelling.
 */
export const isPlain = (format: EngineFormat, raw: string): boolean => patterns[format]?.test(raw) ?? false
