import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import type { Host } from '../support/network.ts'

/** A process of llama.cpp, as the system tells of it. */
export interface LlamaProcess {
  pid: number
  program: 'llama-server' | 'rpc-server'
  args: string[]
  /** Bytes of memory of its own that it has touched. */
  anonymous: number
}

const read = (pid: number, file: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return '' // gone meanwhile
  }
}

const link = (path: string): string => {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

const PROGRAMS = { 'llama-server': 'llama-server', 'rpc-server': 'rpc-server', 'ggml-rpc-server': 'rpc-server' } as const

/** Bytes of memory of its own that a process has touched; 0 for one that is gone. */
export const anonymousOf = (pid: number): number => Number(/^RssAnon:\s+(\d+) kB/m.exec(read(pid, 'status'))?.[1] ?? 0) * 1024

/** What of llama.cpp runs on a host. A shell that watches over such a process has its command line, and is none. */
export const llamaOn = (host: Pick<Host, 'processes'>): LlamaProcess[] =>
  host.processes().flatMap((pid) => {
    const program = PROGRAMS[basename(link(`/proc/${pid}/exe`)) as keyof typeof PROGRAMS]
    return program === undefined ? [] : [{ pid, program, args: read(pid, 'cmdline').split('\0').slice(1, -1), anonymous: anonymousOf(pid) }]
  })

/** What follows a flag on a command line. */
export const valueOf = ({ args }: Pick<LlamaProcess, 'args'>, ...flags: string[]): string | undefined => {
  const at = args.findIndex((each) => flags.includes(each))
  return at < 0 ? undefined : args[at + 1]
}

/** Processes on a host besides these, each as its command line, which of a zombie is empty. */
export const besides = (host: Pick<Host, 'processes'>, pids: readonly number[]): string[] =>
  host.processes().filter((pid) => !pids.includes(pid)).flatMap((pid) => {
    const line = read(pid, 'cmdline').replaceAll('\0', ' ').trim()
    return line === '' ? [] : [`${pid} ${line}`]
  })

/** `a.b.c.d:port` of what /proc/net/tcp writes in the order of a little-endian machine. */
const addressOf = (text = ''): string => {
  const [ip = '', port = ''] = text.split(':')
  return `${(ip.match(/../g) ?? []).toReversed().map((byte) => Number.parseInt(byte, 16)).join('.')}:${Number.parseInt(port, 16)}`
}

const ESTABLISHED = '01'

/** The other ends of a process's living TCP connections. */
export const peersOf = (pid: number): string[] => {
  let sockets: Set<string>
  try {
    sockets = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => link(`/proc/${pid}/fd/${fd}`)))
  } catch {
    return []
  }
  return read(pid, 'net/tcp').split('\n').slice(1).flatMap((row) => {
    const [, , remote, state, , , , , , inode = ''] = row.trim().split(/\s+/)
    return state === ESTABLISHED && sockets.has(`socket:[${inode}]`) ? [addressOf(remote)] : []
  })
}
