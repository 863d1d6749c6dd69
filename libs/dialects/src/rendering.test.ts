import type { EngineKind } from '@drover/core'
import { expect, test } from 'vitest'
import { renderCall, renderedPrompt, renderRequest } from './index.ts'

const messages = [{ role: 'user', content: 'Hello' }]
const asked = (call: ReturnType<typeof renderRequest>) => call && { path: call.path, body: JSON.parse(call.body) as unknown }

test.each<[string, ReturnType<typeof renderRequest>, string, object]>([
  ['llama-server', renderCall('llama-server', 'm', messages, { num_ctx: 512 }), '/apply-template', { model: 'm', messages, stream: false }],
  [
    'Ollama', renderCall('ollama', 'm', messages, { num_ctx: 512 }), '/api/chat',
    { model: 'm', messages, stream: false, _debug_render_only: true, options: { num_ctx: 512, num_predict: 1 } },
  ],
  [
    'a chat request for Ollama', renderRequest('ollama', 'ollama.chat', { model: 'm', messages, stream: true, think: false, options: { seed: 1, num_predict: 900 } }), '/api/chat',
    { model: 'm', messages, stream: false, think: false, _debug_render_only: true, options: { seed: 1, num_predict: 1 } },
  ],
  [
    'a prompt for Ollama', renderRequest('ollama', 'ollama.generate', { model: 'm', prompt: 'Hello', system: 's', template: 't' }), '/api/generate',
    { model: 'm', prompt: 'Hello', system: 's', template: 't', stream: false, _debug_render_only: true, options: { num_predict: 1 } },
  ],
  [
    'an OpenAI request for Ollama', renderRequest('ollama', 'openai.chat', { model: 'm', messages, max_tokens: 900 }), '/v1/chat/completions',
    { model: 'm', messages, stream: false, _debug_render_only: true, max_tokens: 1 },
  ],
  [
    'an OpenAI request for llama-server', renderRequest('llama-server', 'openai.chat', { model: 'm', messages, stream: true, tools: [], max_tokens: 9 }), '/apply-template',
    { model: 'm', messages, stream: false, tools: [], max_tokens: 9 },
  ],
])('the prompt of %s is asked for', (_what, call, path, body) => {
  expect(asked(call)).toEqual({ path, body })
})

test('where an engine has no such question, nothing is asked', () => {
  expect(renderRequest('ollama', 'anthropic.messages', { messages })).toBeUndefined()
  expect(renderRequest('ollama', 'openai.completions', { prompt: '' })).toBeUndefined()
  expect(renderRequest('llama-server', 'ollama.chat', { messages })).toBeUndefined()
  expect(renderRequest('llama-server', 'openai.completions', { prompt: '' })).toBeUndefined()
})

test.each<[EngineKind, unknown, string | undefined]>([
  ['ollama', { model: 'm', message: { role: '', content: '' }, done: false, _debug_info: { rendered_template: 'user: Hello\n' } }, 'user: Hello\n'],
  ['ollama', { model: 'm', message: { role: 'assistant', content: 'Hi' }, done: true }, undefined],
  ['ollama', { _debug_info: { rendered_template: null } }, undefined],
  ['ollama', { prompt: 'Hello' }, undefined],
  ['llama-server', { prompt: 'user: Hello\n' }, 'user: Hello\n'],
  ['llama-server', { prompt: '' }, ''],
  ['llama-server', { prompt: [1, 2] }, undefined],
  ['llama-server', ['prompt'], undefined],
  ['llama-server', undefined, undefined],
])('what %s answers is read', (kind, json, prompt) => {
  expect(renderedPrompt(kind, json)).toBe(prompt)
})
