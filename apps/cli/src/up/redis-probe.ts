import { connect } from 'node:net'

export interface RedisLogin {
  user: string
  password: string
}

/**
 * The first line that a Redis on a socket answers to a command of plain words; empty when somebody listens there and says nothing,
 * `undefined` when nobody listens. With a login that is not (yet) known there, the command goes on as nobody in particular.
 */
export const askRedis = (path: string, command: string, { timeoutMs = 1_000, login }: { timeoutMs?: number; login?: RedisLogin | undefined } = {}): Promise<string | undefined> =>
  new Promise((resolve) => {
    let reached = false
    let answer = ''
    const socket = connect(path)
    const done = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(reached ? (answer.split('\r\n')[login ? 1 : 0] ?? '') : undefined)
    }
    const timer = setTimeout(done, timeoutMs)
    socket.once('connect', () => {
      reached = true
      socket.write(`${login ? `AUTH ${login.user} ${login.password}\r\n` : ''}${command}\r\n`)
    })
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      if (answer.split('\r\n').length > (login ? 2 : 1)) done()
    })
    socket.once('error', done)
    socket.once('close', done)
  })
