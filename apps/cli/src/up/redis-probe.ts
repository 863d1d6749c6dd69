import { connect } from 'node:net'

/**
 * The first line that a Redis on a socket answers to a command of plain words; empty when somebody listens there and says nothing,
 * `undefined` when nobody listens.
 */
export const askRedis = (path: string, command: string, timeoutMs = 1_000): Promise<string | undefined> =>
  new Promise((resolve) => {
    let reached = false
    let answer = ''
    const socket = connect(path)
    const done = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(reached ? answer.split('\r\n')[0] : undefined)
    }
    const timer = setTimeout(done, timeoutMs)
    socket.once('connect', () => {
      reached = true
      socket.write(`${command}\r\n`)
    })
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      if (answer.includes('\r\n')) done()
    })
    socket.once('error', done)
    socket.once('close', done)
  })
