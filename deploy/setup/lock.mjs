import { rmSync } from 'node:fs'
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

/**
 * Runs `work` while no other set-up of this project runs. The lock is a socket that its holder listens on: it is gone when the
 * process is, and whoever waits notices at once. The path must be short, so it is relative to the project.
 */
export const alone = async (path, work) => {
  let told = false
  for (;;) {
    const release = await listen(path)
    // Of two that find the same dead socket at once, the second may have removed the first one's: look who is there in the end.
    if (release) await sleep(50)
    const who = await holder(path)
    if (release && who === `${process.pid}`) {
      try {
        return await work()
      } finally {
        release()
        rmSync(path, { force: true })
      }
    }
    if (release) continue
    if (who === undefined) {
      rmSync(path, { force: true })
      continue
    }
    if (!told) say(`another set-up (process ${who}) is at work in this folder; waiting for it…`)
    told = true
    await released(path)
  }
}
