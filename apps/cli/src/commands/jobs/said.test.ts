import { expect, test } from 'vitest'
import { errorIn, textIn } from './said.ts'
import { serverEvents } from './server-events.ts'

test.each([
  ['{"choices":[{"delta":{"content":"a"}}]}', 'a'],
  ['{"choices":[{"delta":{"role":"assistant","content":null}}]}', ''],
  ['{"choices":[{"message":{"content":"whole"}}]}', 'whole'],
  ['{"choices":[{"text":"b"}]}', 'b'],
  ['{"choices":[],"usage":{}}', ''],
  ['{"message":{"role":"assistant","content":"c"},"done":false}', 'c'],
  ['{"response":"d","done":false}', 'd'],
  ['{"type":"content_block_delta","delta":{"type":"text_delta","text":"e"}}', 'e'],
  ['{"type":"message_start","message":{"content":[]}}', ''],
  ['{"type":"message","content":[{"type":"text","text":"f"}]}', 'f'],
  ['{"type":"response.output_text.delta","delta":"g"}', 'g'],
  ['{"type":"response.function_call_arguments.delta","delta":"{"}', ''],
  ['{"type":"response.completed","response":{"output":[{"content":[{"text":"again"}]}]}}', ''],
  ['{"object":"response","output":[{"content":[{"text":"h"}]}]}', 'h'],
  ['{"embeddings":[[1]]}', '{"embeddings":[[1]]}\n'],
  ['[DONE]', ''],
])('the text of %s', (data, text) => {
  expect(textIn(data)).toBe(text)
})

test('an error is found in each format, and nowhere else', () => {
  expect(errorIn('{"error":"gone"}')).toBe('gone')
  expect(errorIn('{"error":{"message":"gone","type":"x"}}')).toBe('gone')
  expect(errorIn('{"type":"error","error":{"type":"x","message":"gone"}}')).toBe('gone')
  expect(errorIn('{"type":"error","message":"gone"}')).toBe('gone')
  expect(errorIn('{"error":null,"output":[]}')).toBe(undefined)
  expect(errorIn('[DONE]')).toBe(undefined)
})

test('events are read wherever their stream is cut', async () => {
  const text = ': waiting\n\nid: 1\ndata: a\ndata: b\n\nevent: x\ndata:c\r\n\r\ndata: no id\n\nid: 9\ndata: cut off'
  for (const size of [1, 2, 7, 100]) {
    const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => new TextEncoder().encode(text.slice(i * size, (i + 1) * size)))
    const events = []
    for await (const event of serverEvents(new Response(ReadableStream.from(pieces)))) events.push(event)
    expect(events).toEqual([{ id: '1', data: 'a\nb' }, { id: '', data: 'c' }, { id: '', data: 'no id' }])
  }
})
