import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { collect } from './child.mjs'
import { npm } from './npm.mjs'
import { SetupError, megabytes, step } from './say.mjs'
import { bytesBelow } from './size.mjs'

/** What runs the sources as they are. */
const NEEDED = [22, 19]
/** What is fetched where the Node at hand is older. */
const VERSION = '24.21.0'

const isNewEnough = (version) => {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1])
}

const folder = join('.drover/node', `${process.platform}-${process.arch}-${VERSION}`)
const program = join(folder, 'bin/node')

/** The Node that is new enough without doing anything, or `undefined`. */
export const nodeAtHand = () => {
  if (isNewEnough(process.versions.node)) return process.execPath
  return existsSync(program) ? join(process.cwd(), program) : undefined
}

/** Fetches a Node from the npm registry, a plain binary, into the project. */
export const installNode = async () => {
  const name = `node-${process.platform}-${process.arch}`
  const hint = `Drover needs Node ${NEEDED.join('.')} or newer, and this is ${process.versions.node}: install one from nodejs.org`
  if (process.platform !== 'linux') throw new SetupError(hint)
  // One set-up runs at a time, so what lies there was left by one that was killed.
  const work = `${folder}.new`
  rmSync(work, { recursive: true, force: true })
  try {
    await step(
      `fetching Node ${VERSION} (this one, ${process.versions.node}, is too old)`,
      async () => {
        mkdirSync(work, { recursive: true })
        await npm(['install', '--prefix', work, '--no-save', `${name}@${VERSION}`])
        const made = join(work, 'node_modules', name)
        const { stdout, lastWords } = await collect(join(made, 'bin/node'), ['--version'])
        if (stdout.trim() !== `v${VERSION}`) throw new SetupError(`${hint} (the one from the npm registry does not run here: ${lastWords})`)
        // Headers for building add-ons, half as large as the program.
        rmSync(join(made, 'include'), { recursive: true, force: true })
        // Only a whole one ever has the final name.
        rmSync(folder, { recursive: true, force: true })
        renameSync(made, folder)
      },
      () => `${megabytes(bytesBelow(work))} so far`,
    )
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
