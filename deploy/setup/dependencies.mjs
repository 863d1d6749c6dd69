import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
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

/** How many packages of the lock file lie there; those for other machines are left out. */
const packagesSoFar = () => {
  const { packages = {} } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
  const mine = Object.entries(packages).filter(([path, { os, cpu, link }]) => {
    const fits = (os ?? [process.platform]).includes(process.platform) && (cpu ?? [process.arch]).includes(process.arch)
    return path.includes('node_modules/') && fits && !link
  })
  return () => `${mine.filter(([path]) => existsSync(join(path, 'package.json'))).length} of ${mine.length} packages`
}

/** Installs exactly what the lock file says. The stamp comes last: an interrupted run is done again. */
export const installDependencies = async () => {
  const hash = wanted()
  rmSync(STAMP, { force: true })
  await step('installing dependencies', () => npm(['ci'], process.cwd()), packagesSoFar())
  // Node's compile cache (see run.mjs) only grows: with new dependencies much of it is never read again.
  rmSync('.drover/compiled', { recursive: true, force: true })
  writeFileSync(STAMP, hash)
}
