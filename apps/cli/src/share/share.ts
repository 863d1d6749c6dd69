import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Role, userFile } from '@drover/broker/roles'
import { announce, ExitError, formatJoin, ownAddresses } from '@drover/service'
import { askRedis } from '../up/redis-probe.ts'
import { AUTO, type SharedAt, sharedAt } from './address.ts'
import { keepPasswords } from './credentials.ts'

/** How often this machine's addresses are looked at, ms. */
const LOOK_MS = 2_000

export interface ShareOptions {
  /** Address, or `auto`. */
  asked: string
  port: number
  prefix: string
  /** Data folder. */
  data: string
  /** Whether the place is announced on the local network. */
  announced: boolean
}

/** A private Redis that other machines reach. */
export interface Share {
  /** The address that Redis listens on. */
  bind: string
  /** Files for Redis: the address, and who may do what. Its own arguments come behind them. */
  redisArgs: string[]
  /** Commands to the socket begin with this. */
  ownerLogin: { user: string; password: string }
  /** The socket as a part on this machine opens it. */
  localUrl: (role: Role, socket: string) => string
  /** What another machine types to join. */
  lines: (role: Role) => string[]
  /** Announces the place, and follows this machine's address where none was named, until stopped. */
  follow: (socket: string, onMoved: (host: string) => void) => Promise<{ stop: () => Promise<void> }>
}

const writeWhole = (path: string, text: string): void => {
  writeFileSync(`${path}.new`, text, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

/** Prepares the files that a shared Redis starts with. @throws ExitError when there is no address to share on */
export const prepareShare = ({ asked, port, prefix, data, announced }: ShareOptions): Share => {
  let at: SharedAt = sharedAt(asked, ownAddresses())
  const passwords = keepPasswords(data)
  const addressFile = join(data, 'share.conf')
  const users = join(data, 'share-users.acl')
  // The dash: a Redis that is started again while the address is away waits for it to come back.
  const keepAddress = () => writeWhole(addressFile, `port ${port}\nbind -${at.bind}\naclfile "${users}"\n`)
  keepAddress()
  writeWhole(users, userFile(passwords, prefix))
  const ownerLogin = { user: 'owner', password: passwords.owner }

  const announcement = async () => {
    const [host] = at.hosts
    if (!announced || host === undefined) return undefined
    return announce({ host, port, prefix, passwords: { gateway: passwords.gateway, worker: passwords.worker } })
  }

  const follow: Share['follow'] = async (socket, onMoved) => {
    let told = await announcement()
    let moving = Promise.resolve()
    const look = async () => {
      const now = addressNow(asked)
      if (now === undefined || now.bind === at.bind) return
      const answer = await askRedis(socket, `CONFIG SET bind -${now.bind}`, { login: ownerLogin })
      if (answer !== '+OK') return
      at = now
      keepAddress()
      await told?.stop()
      told = await announcement()
      onMoved(now.bind)
    }
    const timer = setInterval(() => (moving = moving.then(look).catch(() => undefined)), LOOK_MS)
    return {
      stop: async () => {
        clearInterval(timer)
        await moving
        await told?.stop()
      },
    }
  }

  return {
    bind: at.bind,
    redisArgs: [addressFile],
    ownerLogin,
    localUrl: (role, socket) => `unix://${role}:${passwords[role]}@${socket}`,
    lines: (role) => at.hosts.map((host) => `npm run drover -- ${role} --join ${formatJoin({ user: role, password: passwords[role], host, port, prefix })}`),
    follow,
  }
}

/** Where we would be shared now; `undefined` while that cannot be said, or was named and stays. */
const addressNow = (asked: string): SharedAt | undefined => {
  if (asked !== AUTO) return undefined
  try {
    return sharedAt(asked, ownAddresses())
  } catch (error) {
    if (error instanceof ExitError) return undefined
    throw error
  }
}
