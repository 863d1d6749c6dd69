import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { Interrupted } from './say.mjs'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']
const running = new Set()
let interruption

/**
 * Signals go on to whatever runs; its end, not the signal, ends us, so that nothing is left behind. Ctrl-C on a terminal reaches
 * the child by itself: one that would take a second one for impatience is not told again.
 */
export const forwardSignals = () => {
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (running.size === 0) process.exit(128 + constants.signals[signal])
      for (const tell of running) tell(signal)
    })
  }
}

const codeOf = (code, signal) => code ?? 128 + (constants.signals[signal] ?? 0)

/** Runs a program with our input and output; its exit code. `ipc`: it learns when we are gone, however we went. */
export const run = (command, args, { cwd, env = process.env, ipc = false } = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['inherit', 'inherit', 'inherit', ...(ipc ? ['ipc'] : [])] })
    const tell = (signal) => {
      if (ipc || signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    }
    running.add(tell)
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      running.delete(tell)
      resolve(codeOf(code, signal))
    })
  })

const killGroup = (leader, signal) => {
  try {
    process.kill(-leader, signal)
  } catch {
    // Gone already.
  }
}

/** A shell that kills a process group as soon as we are gone, even by SIGKILL: it waits on a pipe that only we hold. */
const watchOver = (leader) => {
  const shell = spawn('/bin/sh', ['-c', 'read -r _; kill -9 -"$1"', 'sh', `${leader}`], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  shell.on('error', () => {}) // no shell, no watch
  return () => shell.kill('SIGKILL')
}

/**
 * Runs a program of the set-up quietly: its exit code, its output, and the last lines of its complaints. It and what it starts end
 * with us at the latest.
 * @throws Interrupted when a signal told us to end meanwhile
 */
export const collect = (command, args, { cwd, env = process.env } = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const unwatch = child.pid === undefined ? () => {} : watchOver(child.pid)
    const tell = (signal) => {
      killGroup(child.pid, interruption === undefined ? signal : 'SIGKILL')
      interruption = signal
    }
    running.add(tell)
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr = (stderr + chunk).slice(-20_000)))
    const done = (code) => {
      running.delete(tell)
      unwatch()
      if (interruption !== undefined) {
        reject(new Interrupted('interrupted; the next run goes on from here', codeOf(null, interruption)))
      } else resolve({ code, stdout, stderr, lastWords: stderr.trim().split('\n').slice(-8).join('\n') })
    }
    child.once('error', (error) => {
      stderr += error.message
      done(127)
    })
    child.once('close', (code, signal) => done(codeOf(code, signal)))
  })
