import { mkdirSync, rmSync, statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { say } from './say.mjs'

const listen = (path) =>
  new Promise((resolve, reject) => {
    const clients = new Set()
    const server = createServer((socket) => {
      clients.add(socket)
      socket.on('error', () => {}).on('close', () => clients.delete(socket))
      socket.write(`${process.pid}\n`)
    })
    server.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)))
    server.listen(path, () => {
      server.unref()
      resolve(() => {
        server.close()
        for (const socket of clients) socket.destroy()
      })
    })
  })

/** The process that listens there, or `undefined` when nobody does. */
const holder = (path) =>
  new Promise((resolve) => {
    const socket = connect(path)
    const timer = setTimeout(() => socket.destroy(), 2_000)
    const done = (value) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(value)
    }
    socket.once('data', (chunk) => done(String(chunk).trim()))
    socket.once('error', () => done(undefined))
    socket.once('close', () => done('unknown'))
  })

const released = async (path) => {
  const socket = connect(path)
  await text(socket).catch(() => {})
}

/** Clearing away takes a moment; a mark older than this was left by a process that was killed in that moment, ms. */
const CLEARING_MS = 5_000

/**
 * Removes a dead holder's socket. One process at a time does it, and looks once more before: otherwise a slow one would remove the
 * socket of another that was quicker. False: somebody else is at it.
 */
const clearAway = async (path) => {
  const mark = `${path}.clearing`
  try {
    mkdirSync(mark)
  } catch {
    const { mtimeMs } = statSync(mark, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() }
    if (Date.now() - mtimeMs > CLEARING_MS) rmSync(mark, { recursive: true, force: true })
    return false
  }
  try {
    if ((await holder(path)) === undefined) rmSync(path, { force: true })
    return true
  } finally {
    rmSync(mark, { recursive: true, force: true })
  }
}

/**
 * Runs `work` while no other set-up of this project runs. The lock is a socket that its holder listens on: it is gone when the
 * process is, and whoever waits notices at once. The path must be short, so it is relative to the project.
 */
export const alone = async (path, work) => {
  let told = false
  for (;;) {
    const release = await listen(path)
    if (release) {
      try {
        return await work()
      } finally {
        // Closing removes the socket, in this order: it can not be a successor's.
        release()
      }
    }
    const who = await holder(path)
    if (who === undefined) {
      if (!(await clearAway(path))) await sleep(100)
      continue
    }
    if (!told) say(`another set-up (process ${who}) is at work in this folder; waiting for it…`)
    told = true
    await released(path)
  }
}
