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
    return readFileSync(STAMP, 'utf8').split(' ')
  } catch {
    return []
  }
}

/** How many packages of the lock file lie there; those for other machines are left out, and those for developing where they are not wanted. */
const packagesSoFar = (all) => {
  const { packages = {} } = JSON.parse(readFileSync('package-lock.json', 'utf8'))
  const mine = Object.entries(packages).filter(([path, { os, cpu, link, dev }]) => {
    const fits = (os ?? [process.platform]).includes(process.platform) && (cpu ?? [process.arch]).includes(process.arch)
    return path.includes('node_modules/') && fits && !link && (all || !dev)
  })
  return () => `${mine.filter(([path]) => existsSync(join(path, 'package.json'))).length} of ${mine.length} packages`
}

/** The dependencies: what Drover runs with, or `all`, with what it is developed with, which is more than half. */
export const dependencies = ({ all }) => {
  const atHand = () => {
    const [hash, scope] = installed()
    return hash === wanted() && (scope === 'all' || !all)
  }
  /** Installs exactly what the lock file says. The stamp comes last: an interrupted run is done again. */
  const install = async () => {
    const hash = wanted()
    // What lies there may be running: the rest is then added to it, where `ci` would begin by removing it.
    const more = installed()[0] === hash
    rmSync(STAMP, { force: true })
    await step('installing dependencies', () => npm(more ? ['install', '--no-save'] : ['ci', ...(all ? [] : ['--omit=dev'])], process.cwd()), packagesSoFar(all))
    // Node's compile cache (see run.mjs) only grows: with new dependencies much of it is never read again.
    if (!more) rmSync('.drover/compiled', { recursive: true, force: true })
    writeFileSync(STAMP, `${hash} ${all ? 'all' : 'use'}`)
  }
  return { atHand, install }
}
