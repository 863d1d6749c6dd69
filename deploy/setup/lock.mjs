import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
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

/** To look and to take is a matter of a moment; a mark older than this was left by a process that was killed in it, ms. */
const TAKING_MS = 5_000

/**
 * Takes the lock, or says who has it. A socket exists a moment before somebody listens on it, and one that nobody listens on is a
 * dead process's: so that the two are not taken for each other, processes look and take one at a time. `undefined`: not one's turn.
 */
const take = async (path) => {
  const mark = `${path}.taking`
  try {
    mkdirSync(mark)
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    const { mtimeMs } = statSync(mark, { throwIfNoEntry: false }) ?? { mtimeMs: Date.now() }
    if (Date.now() - mtimeMs > TAKING_MS) rmSync(mark, { recursive: true, force: true })
    return undefined
  }
  try {
    const who = existsSync(path) ? await holder(path) : undefined
    if (who !== undefined) return { who }
    rmSync(path, { force: true })
    const release = await listen(path)
    return release && { release }
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
    const taken = await take(path)
    if (taken?.release) {
      try {
        return await work()
      } finally {
        // Closing removes the socket, in this order: it can not be a successor's.
        taken.release()
      }
    }
    if (!taken) {
      await sleep(100)
      continue
    }
    const { who } = taken
    if (!told) say(`another set-up (process ${who}) is at work in this folder; waiting for it…`)
    told = true
    await released(path)
  }
}
