import { Agent, createServer, request } from 'node:http'
import { announceListening } from '@drover/service'

/** The floor for anything that stands between a client and an engine: a reverse proxy of Node's own parts and nothing else. */
const target = new URL(process.argv[2] ?? '')
// Node sets no-delay on the connections of its agents by itself.
const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity })
const HOUR = 3_600_000

const server = createServer({ noDelay: true, keepAliveTimeout: HOUR, requestTimeout: 0 }, (incoming, outgoing) => {
  const { method, url, headers } = incoming
  const upstream = request({ agent, host: target.hostname, port: target.port, method, path: url, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(outgoing)
  })
  upstream.on('error', () => outgoing.destroy())
  outgoing.on('close', () => upstream.destroy())
  incoming.pipe(upstream)
})
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  const address = server.address()
  if (typeof address === 'object' && address) announceListening(`http://127.0.0.1:${address.port}`)
})
process.on('disconnect', () => process.exit(1))
process.on('SIGTERM', () => process.exit(0))
