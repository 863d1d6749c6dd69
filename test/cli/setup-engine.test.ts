import { once } from 'node:events'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { setupProject } from './setup-project.ts'

/** Something that answers `GET /api/tags` as Ollama does; the value for `OLLAMA_HOST`. */
const ollama = async (models: string[]): Promise<string> => {
  const server = createServer((request, response) => {
    response.statusCode = request.url === '/api/tags' ? 200 : 404
    response.end(JSON.stringify({ models: models.map((name) => ({ name })) }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const address = server.address()
  return `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
}

/** No llama-server is named; nothing answers on the port that is reserved for nobody. */
const NONE = { DROVER_LLAMA_SERVER: '', OLLAMA_HOST: '127.0.0.1:1' }

test('a llama-server is looked for when a worker is started that has no other engine, and without one it goes on', async () => {
  const { folder, run } = await setupProject()
  for (const words of [['start'], ['drover', 'up'], ['drover', 'worker', '--node', 'x']]) {
    const none = run(words, NONE)
    expect(await none.exited).toBe(5)
    expect(none.output()).toMatch(/no llama-server could be had: .*Debian[^]*--engine[^]*cli .*llama=(undefined)?\n/)
  }
  const server = join(folder, 'bin/llama-server')
  await writeFile(server, '')
  await chmod(server, 0o755)
  const found = run(['start'], NONE)
  expect(await found.exited).toBe(5)
  expect(found.output()).toContain(`llama=${server}`)
})

test('nothing is unpacked for a worker that has another engine, and one line says so', async () => {
  const { folder, run } = await setupProject()
  const answers = await ollama(['a:latest', 'b:latest'])
  const cases: [string[], Record<string, string>, string][] = [
    [['start', '--engine', 'http://h:1'], {}, '--engine names an engine'],
    [['drover', 'worker', '--engine=http://h:1'], {}, '--engine names an engine'],
    [['start', '--llama-server', '/x'], {}, '--llama-server names one'],
    [['start'], { CLUSTER_HARDWARE: '{}' }, 'CLUSTER_HARDWARE names an engine'],
    [['start'], { OLLAMA_HOST: answers }, `the Ollama at http://${answers} has 2 models`],
  ]
  for (const [words, env, reason] of cases) {
    const other = run(words, { ...NONE, ...env })
    expect(await other.exited).toBe(5)
    expect(other.output()).toContain(`drover: no llama-server is unpacked: ${reason}\n`)
    expect(other.output()).not.toContain('could be had')
  }
  await writeFile(join(folder, 'drover.yaml'), 'worker:\n  engine:\n    - url: http://h:1\n')
  const file = run(['start'], NONE)
  await file.exited
  expect(file.output()).toContain('no llama-server is unpacked: the configuration file names an engine')
})

test('an Ollama without a model, or a folder of models, wants a llama-server all the same', async () => {
  const { folder, run } = await setupProject()
  const wants = async (env: Record<string, string>) => {
    const wanted = run(['start'], { ...NONE, ...env })
    await wanted.exited
    expect(wanted.output()).toContain('no llama-server could be had')
  }
  const answers = await ollama(['a'])
  await wants({ OLLAMA_HOST: await ollama([]) })
  await wants({ OLLAMA_HOST: answers, DROVER_MODELS_DIR: '/models' })
  await mkdir(join(folder, '.drover/data/models'), { recursive: true })
  await writeFile(join(folder, '.drover/data/models/own.gguf'), '')
  await wants({ OLLAMA_HOST: answers })
})

test('commands that start no worker look for no llama-server', async () => {
  const { run } = await setupProject()
  for (const words of [['start', '--help'], ['start', '--no-worker'], ['drover', 'status'], ['drover', 'gateway']]) {
    const other = run(words, NONE)
    expect(await other.exited).toBe(5)
    expect(other.output()).not.toContain('llama-server')
  }
})
