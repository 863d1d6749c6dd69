import { execFileSync } from 'node:child_process'
import { cpus, loadavg, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The commit of a checkout, with a `+` when something in it differs; `unknown` outside of git. */
export const commitOf = (dir: string): string => {
  try {
    const git = (...args: string[]) => execFileSync('git', ['-C', dir, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+')
  } catch {
    return 'unknown'
  }
}

/** What figures of this machine may be compared with. */
export const machineFacts = (redisVersion: string) => ({
  node: process.version,
  redis: redisVersion,
  commit: commitOf(ROOT),
  cores: cpus().length,
  processor: cpus()[0]?.model ?? '',
  memoryGb: Math.round(totalmem() / 2 ** 30),
  loadBefore: loadavg().map((load) => Math.round(100 * load) / 100),
})
