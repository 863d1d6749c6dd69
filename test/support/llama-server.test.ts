import { expect, test } from 'vitest'
import { startLlamaServer } from './llama-server.ts'

test('a llama-server that does not come up is told with its reason', async () => {
  const before = process.env['DROVER_LLAMA_SERVER']
  process.env['DROVER_LLAMA_SERVER'] = process.execPath
  try {
    await expect(startLlamaServer({ model: 'none.gguf' })).rejects.toThrow('does not come up')
    process.env['DROVER_LLAMA_SERVER'] = '/nowhere/llama-server'
    await expect(startLlamaServer({ model: 'none.gguf' })).rejects.toThrow('/nowhere/llama-server cannot be started')
  } finally {
    if (before === undefined) delete process.env['DROVER_LLAMA_SERVER']
    else process.env['DROVER_LLAMA_SERVER'] = before
  }
})
