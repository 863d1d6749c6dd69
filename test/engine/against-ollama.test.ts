import { expect, onTestFinished, test } from 'vitest'
import { recorded } from '../../libs/dialects/src/recorded/index.ts'
import { canStream, OLLAMA_CASES, ownCall, ownFileOf, type OllamaCase } from '../../libs/dialects/src/testing/ollama-cases.ts'
import { eventsOf, shapesOf } from '../../libs/dialects/src/testing/shapes.ts'
import { startScriptedEngine } from './server.ts'

/** What the scripted engine has no mind for: it says nothing but text. */
const WITHOUT = /tools|logprobs|schema|thinking/

const cases = OLLAMA_CASES.filter(({ name }) => !WITHOUT.test(name)).flatMap((theCase) =>
  (canStream(theCase) ? [true, false] : [false]).map((stream): [string, string, OllamaCase, boolean] => [theCase.name, stream ? 'streamed' : 'whole', theCase, stream]))

test.each(cases)('%s, %s: the scripted Ollama answers in the shape of a real one', async (_name, _how, theCase, stream) => {
  const engine = await startScriptedEngine({ models: ['small', { name: 'embed', capabilities: ['embedding'] }] })
  onTestFinished(() => engine[Symbol.asyncDispose]())
  const { path, body } = ownCall(theCase, stream)
  const answer = await fetch(engine.url + path, { method: 'POST', body: JSON.stringify(body) })
  expect(shapesOf(eventsOf(await answer.text()))).toEqual(shapesOf(eventsOf(recorded(ownFileOf(theCase, stream)))))
})
