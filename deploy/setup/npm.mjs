import { rmSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { withAdvice } from './advice.mjs'
import { collect } from './child.mjs'
import { SetupError } from './say.mjs'

/** npm as it started us, else the one on the search path. */
const npmCommand = () => {
  const path = process.env.npm_execpath
  return path !== undefined && basename(path).startsWith('npm') ? [process.execPath, path] : ['npm']
}

/** What npm says besides its reason. */
const NOISE = /^(npm (error|ERR!)\s*)?(A complete log of this run.*|\/\S+-debug-\d+\.log|(syscall|errno) .*|at .*|network (This is|In most|If you|'proxy').*|network *|)$/

/**
 * Runs npm quietly. Install scripts of packages are never run. Its cache lies in the project until it has succeeded: a run that was
 * cut off goes on from there, and no cache of the user's, which may belong to somebody else by mistake, is needed.
 */
export const npm = async (args, cwd) => {
  const [command, ...first] = npmCommand()
  const cache = resolve('.drover/npm')
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--no-update-notifier', '--no-progress']
  // Its own waits between tries grow to a minute.
  const tries = ['--fetch-retries=4', '--fetch-retry-factor=2', '--fetch-retry-mintimeout=1000', '--fetch-timeout=60000']
  const { code, stderr } = await collect(command, [...first, ...args, ...quiet, ...tries, `--cache=${cache}`], { cwd })
  if (code === 0) {
    rmSync(cache, { recursive: true, force: true })
    return
  }
  // The reason comes first; usage and notices follow.
  const reason = stderr.split('\n').filter((line) => !NOISE.test(line)).map((line) => line.replace(/^npm (error|ERR!) ?/, '  '))
  throw new SetupError(withAdvice(`npm ${args[0]} failed (exit code ${code}):\n${reason.filter((line) => line.trim()).slice(0, 8).join('\n')}`))
}
