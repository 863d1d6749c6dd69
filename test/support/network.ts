import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/** Why no hosts can be made here; `undefined` when they can. */
export const noHosts = (): string | undefined => {
  if (process.platform !== 'linux') return 'network namespaces are Linux’ own'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const name = `drover-${randomBytes(3).toString('hex')}`
  try {
    ip('netns', 'add', name)
    ip('netns', 'del', name)
    return undefined
  } catch (error) {
    return `no network namespace can be made: ${error instanceof Error ? error.message.split('\n').join(' ') : String(error)}`
  }
}

/** A machine of its own as far as the network goes. */
export interface Host {
  readonly address: string
  /** What runs a program there. */
  within: readonly string[]
  /** Pulls its network cable, and puts it back. Nothing is told to either side: what is sent is lost. */
  cut(): void
  mend(): void
  /** Gives it another address instead of the one it has. */
  move(): string
  /** Ids of the processes that run there. */
  processes(): number[]
  /** Its power fails: nothing that runs there can say another word. `mend` gives it its network back. */
  die(): void
}

export interface Network {
  /** Whether every host has a network of its own; else they are hosts in name only, on the loopback. */
  apart: boolean
  hosts: Host[]
  /** This process's own, at which the hosts reach it. */
  address: string
  /** Kills what still runs on its hosts and takes all away. */
  close(): Promise<void>
}

/** Ends a process. Whether it was there does not matter. */
export const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone by itself.
  }
}

/**
 * A shell that cleans up as soon as this process says so or is no more, however it ends: it waits on a pipe that only this process holds.
 * Resolves when it has.
 */
const atTheEnd = (script: string): (() => Promise<void>) => {
  const watch = spawn('/bin/sh', ['-c', `read -r _; ${script}`], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  const done = once(watch, 'exit')
  watch.unref()
  ;(watch.stdin as unknown as { unref(): void }).unref()
  return async () => {
    watch.ref()
    watch.stdin.end()
    await done
  }
}

/**
 * So many hosts on one network, each in a network namespace with a cable to a bridge, on which this process is, too.
 * @throws Error where that is not to be had (`noHosts` says why)
 */
export const openNetwork = async (count: number): Promise<Network> => {
  const name = `d${randomBytes(3).toString('hex')}`
  const [one = 0, two = 0] = randomBytes(2)
  const subnet = `10.${100 + (one % 100)}.${two}`
  const spaces = Array.from({ length: count }, (_, at) => ({ space: `${name}-${at}`, cable: `${name}v${at}` }))
  const close = atTheEnd([
    ...spaces.map(({ space, cable }) => `for pid in $(ip netns pids ${space}); do kill -9 $pid; done; ip netns del ${space}; ip link del ${cable}`),
    `ip link del ${name}`,
  ].join('; '))
  try {
    ip('link', 'add', name, 'type', 'bridge')
    ip('addr', 'add', `${subnet}.1/24`, 'dev', name)
    ip('link', 'set', name, 'up')
    return { apart: true, address: `${subnet}.1`, close, hosts: spaces.map(({ space, cable }, at) => {
      let last = at + 2
      ip('netns', 'add', space)
      ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
      ip('link', 'set', cable, 'master', name, 'up')
      ip('-n', space, 'addr', 'add', `${subnet}.${last}/24`, 'dev', 'eth0')
      for (const each of ['lo', 'eth0']) ip('-n', space, 'link', 'set', each, 'up')
      const host: Host = {
        get address() {
          return `${subnet}.${last}`
        },
        within: ['ip', 'netns', 'exec', space],
        cut: () => void ip('link', 'set', cable, 'down'),
        mend: () => void ip('link', 'set', cable, 'up'),
        move() {
          ip('-n', space, 'addr', 'del', `${subnet}.${last}/24`, 'dev', 'eth0')
          last += 100
          ip('-n', space, 'addr', 'add', `${subnet}.${last}/24`, 'dev', 'eth0')
          return host.address
        },
        processes: () => ip('netns', 'pids', space).split('\n').filter(Boolean).map(Number),
        die() {
          host.cut()
          host.processes().forEach(kill)
        },
      }
      return host
    }) }
  } catch (error) {
    await close()
    throw error
  }
}

/** Processes whose environment has this in it, as it was when they began. */
const marked = (mark: string): number[] =>
  readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark)
    } catch {
      return false // gone meanwhile
    }
  })

const noCable = (): never => {
  throw new Error('on the loopback no host has a cable of its own')
}

/** Hosts in name only: addresses of the loopback, no cable to pull, and their processes told apart by a mark that they inherit. */
export const loopbackNetwork = (count: number): Network => {
  const hosts = Array.from({ length: count }, (_, at): Host => {
    const mark = `DROVER_TEST_HOST=${randomBytes(9).toString('hex')}`
    const processes = () => marked(mark)
    return { address: `127.0.0.${at + 2}`, within: ['env', mark], cut: noCable, mend: () => {}, move: noCable, processes, die: () => processes().forEach(kill) }
  })
  return { apart: false, hosts, address: '127.0.0.1', close: async () => hosts.forEach((host) => host.die()) }
}

/** A network of hosts apart where that is to be had; else, loudly, the loopback. */
export const bestNetwork = async (count: number): Promise<Network> => {
  const why = noHosts()
  if (why === undefined) return openNetwork(count)
  process.stderr.write(`ON THE LOOPBACK, not on hosts of their own: ${why}\n`)
  return loopbackNetwork(count)
}
