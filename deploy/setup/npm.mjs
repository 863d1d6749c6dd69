import { basename } from 'node:path'
import { collect } from './child.mjs'
import { SetupError } from './say.mjs'

/** npm as it started us, else the one on the search path. */
const npmCommand = () => {
  const path = process.env.npm_execpath
  return path !== undefined && basename(path).startsWith('npm') ? [process.execPath, path] : ['npm']
}

/** Runs npm quietly. Install scripts of packages are never run. */
export const npm = async (args, cwd) => {
  const [command, ...first] = npmCommand()
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--no-update-notifier']
  const { code, stderr } = await collect(command, [...first, ...args, ...quiet], { cwd })
  // The reason comes first; usage and notices follow.
  const reason = stderr.split('\n').map((line) => line.replace(/^npm error ?/, '  ')).filter((line) => line.trim() !== '')
  if (code !== 0) throw new SetupError(`npm ${args[0]} failed (exit code ${code}):\n${reason.slice(0, 8).join('\n')}`)
}
