import { spawn } from 'node:child_process'
import { constants } from 'node:os'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']
const running = new Set()

/**
 * Signals go on to whatever runs; its end, not the signal, ends us, so that nothing is left behind. Ctrl-C on a terminal reaches
 * the child by itself: one that would take a second one for impatience is not told again.
 */
export const forwardSignals = () => {
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (running.size === 0) process.exit(128 + constants.signals[signal])
      for (const { child, patient } of running) {
        if (patient || signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
      }
    })
  }
}

const codeOf = (code, signal) => code ?? 128 + (constants.signals[signal] ?? 0)

/** Runs a program with our input and output; its exit code. `ipc`: it learns when we are gone, however we went. */
export const run = (command, args, { cwd, env = process.env, ipc = false } = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['inherit', 'inherit', 'inherit', ...(ipc ? ['ipc'] : [])] })
    const entry = { child, patient: ipc }
    running.add(entry)
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      running.delete(entry)
      resolve(codeOf(code, signal))
    })
  })

/** Runs a program quietly: its exit code, its output, and the last lines of its complaints. */
export const collect = (command, args, { cwd, env = process.env } = {}) =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    const entry = { child, patient: false }
    running.add(entry)
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr = (stderr + chunk).slice(-20_000)))
    const done = (code) => {
      running.delete(entry)
      resolve({ code, stdout, stderr, lastWords: stderr.trim().split('\n').slice(-8).join('\n') })
    }
    child.once('error', (error) => {
      stderr += error.message
      done(127)
    })
    child.once('close', (code, signal) => done(codeOf(code, signal)))
  })
