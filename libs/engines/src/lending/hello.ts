import { connect, type Socket } from 'node:net'

/** First message of llama.cpp's RPC protocol 8 and its answer: a byte that names the command, a length, so many bytes. */
const HELLO = 14
const ASKED_BYTES = 24
const ANSWERED_BYTES = 28

/**
 * Says hello to an rpc-server. It answers when it is free; while it serves somebody it does not, until he has gone.
 * @returns the protocol version it speaks, as `8.0.0`
 * @throws Error with what is wrong: nobody listens, it is no rpc-server, or it speaks another version; the signal's reason
 */
export const rpcHello = async (host: string, port: number, signal: AbortSignal): Promise<string> => {
  signal.throwIfAborted()
  const socket = connect({ host, port })
  const leave = () => socket.destroy(signal.reason as Error)
  signal.addEventListener('abort', leave, { once: true })
  try {
    const message = Buffer.alloc(1 + 8 + ASKED_BYTES)
    message.writeUInt8(HELLO, 0)
    message.writeBigUInt64LE(BigInt(ASKED_BYTES), 1)
    socket.write(message)
    const answer = await read(socket, 8 + ANSWERED_BYTES)
    if (answer.readBigUInt64LE(0) !== BigInt(ANSWERED_BYTES)) throw new Error('what listens there is no rpc-server of a version that is known')
    return [answer[8], answer[9], answer[10]].join('.')
  } finally {
    signal.removeEventListener('abort', leave)
    socket.destroy()
  }
}

const read = async (socket: Socket, bytes: number): Promise<Buffer> => {
  let got = Buffer.alloc(0)
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    got = Buffer.concat([got, chunk])
    if (got.length >= bytes) return got
  }
  throw new Error('the connection was closed: what listens there is no rpc-server, or one of another version')
}
