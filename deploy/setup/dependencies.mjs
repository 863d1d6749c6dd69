import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { npm } from './npm.mjs'
import { step } from './say.mjs'

const STAMP = 'node_modules/.drover-stamp'

/** What the installed packages depend on: the lock file, and the machine that binaries were chosen for. */
const wanted = () => createHash('sha256').update(readFileSync('package-lock.json')).update(`${process.platform}-${process.arch}`).digest('hex')

const installed = () => {
  try {
    return readFileSync(STAMP, 'utf8')
  } catch {
    return undefined
  }
}

export const dependenciesAtHand = () => installed() === wanted()

/** Installs exactly what the lock file says. The stamp comes last: an interrupted run is done again. */
export const installDependencies = async () => {
  const hash = wanted()
  rmSync(STAMP, { force: true })
  await step('installing dependencies', () => npm(['ci'], process.cwd()))
  writeFileSync(STAMP, hash)
}
