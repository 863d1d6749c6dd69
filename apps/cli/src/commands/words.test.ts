import { defineConfig, setting } from '@drover/service'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { splitWords } from './words.ts'

const { settings } = defineConfig('cli', {
  json: setting({ schema: z.boolean().default(false), describe: '' }),
  hideThinking: setting({ schema: z.boolean().default(false), describe: '' }),
  url: setting({ schema: z.string().optional(), describe: '' }),
  think: setting({ schema: z.union([z.boolean(), z.enum(['true', 'high'])]).optional(), describe: '' }),
})

test.each([
  [['m', 'why', 'not'], ['m', 'why', 'not'], []],
  [['--json', 'm', '--url', 'http://x', 'why'], ['m', 'why'], ['--json', '--url=http://x']],
  [['m', '--url=http://x', '--hide-thinking', 'why'], ['m', 'why'], ['--url=http://x', '--hide-thinking']],
  [['m', '--think', 'why'], ['m', 'why'], ['--think=true']],
  [['m', '--think=high', 'why'], ['m', 'why'], ['--think=high']],
  [['m', '--', '--json', 'is', 'a', 'flag'], ['m', '--json', 'is', 'a', 'flag'], []],
  [['m', '--unknown', '-h'], ['m'], ['--unknown', '-h']],
  [['--no-json', '--url'], [], ['--no-json', '--url']],
])('%j', (argv, words, flags) => {
  expect(splitWords(settings, argv)).toEqual({ words, flags })
})
