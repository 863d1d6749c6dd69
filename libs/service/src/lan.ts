import { createHmac, timingSafeEqual } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import { hostname, networkInterfaces } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bonjour } from 'bonjour-service'
import { VERSION } from './version.ts'

/** Service type in DNS-SD: `_drover._tcp`. */
const TYPE = 'drover'
/** Questions go lost on a busy network: they are asked again this often, ms. */
const ASK_MS = 250

export interface Announcement {
  host: string
  port: number
  prefix: string
  /** Passwords by user. None of them is sent: only a proof for each, by which whoever has it knows that this is the right place. */
  passwords: Readonly<Record<string, string>>
}

/** What was heard on the network; nothing of it is sure but what a proof covers. */
export interface Found {
  name: string
  host: string
  port: number
  prefix: string
  version: string
  proofs: Readonly<Record<string, string>>
}

type Place = Pick<Found, 'host' | 'port' | 'prefix'>

/** Says that who announces this place has the password. It cannot be turned back into one: they are 190 random bits. */
const proofOf = (user: string, password: string, { host, port, prefix }: Place): string =>
  createHmac('sha256', password).update(JSON.stringify(['drover', user, host, port, prefix])).digest('base64url')

/** Whether a place is one where this password is right: a password is sent nowhere else. */
export const isOurs = (found: Found, user: string, password: string): boolean => {
  const said = Buffer.from(found.proofs[user] ?? '')
  const expected = Buffer.from(proofOf(user, password, found))
  return said.length === expected.length && timingSafeEqual(said, expected)
}

/** One multicast socket, on the interface that has an address. Without a network it is silent, not an error. */
const open = async (address: string): Promise<Bonjour> => {
  // Only who wants to be found, or to find, pays for it.
  const { Bonjour: Responder } = await import('bonjour-service')
  const options: object = { interface: address, bind: '0.0.0.0' }
  const bonjour = new Responder(options, () => undefined)
  // The library lets errors of its socket end the process.
  const { mdns } = (bonjour as unknown as { server: { mdns: EventEmitter } }).server
  mdns.on('error', () => undefined)
  return bonjour
}

const close = (bonjour: Bonjour): Promise<void> => new Promise((resolve) => bonjour.destroy(() => resolve()))

/** This machine's addresses on its networks, loopback left out, with the interface's name. */
export const ownAddresses = (): { address: string; name: string }[] =>
  Object.entries(networkInterfaces()).flatMap(([name, list = []]) =>
    list.filter(({ internal, family }) => !internal && family === 'IPv4').map(({ address }) => ({ address, name })),
  )

/** IPv4 addresses that the Internet does not route: private networks, and those of carriers that overlay networks use. */
export const isPrivate = (address: string): boolean => /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.)/.test(address)

/** Announces a place on the network of its address, until told to stop. */
export const announce = async ({ passwords, ...place }: Announcement): Promise<{ stop: () => Promise<void> }> => {
  const bonjour = await open(place.host)
  const proofs = Object.entries(passwords).map(([user, password]) => [`proof-${user}`, proofOf(user, password, place)])
  const suffix = createHmac('sha256', `${place.host}:${place.port}`).update(JSON.stringify(proofs)).digest('hex').slice(0, 6)
  bonjour.publish({
    name: `${hostname().split('.')[0] ?? 'drover'}-${suffix}`,
    type: TYPE,
    port: place.port,
    probe: false,
    txt: { version: VERSION, prefix: place.prefix, address: place.host, ...Object.fromEntries(proofs) },
  })
  return {
    stop: async () => {
      // The others are told, if it can be said; a network that is gone must not keep us.
      await Promise.race([new Promise<void>((resolve) => bonjour.unpublishAll(() => resolve())), sleep(500, undefined, { ref: false })])
      await close(bonjour)
    },
  }
}

const readService = (service: { name: string; port: number; txt?: unknown; referer?: { address: string } }): Found => {
  const txt = Object.fromEntries(Object.entries((service.txt ?? {}) as Record<string, unknown>).map(([key, value]) => [key.toLowerCase(), String(value)]))
  return {
    name: service.name,
    host: txt['address'] ?? service.referer?.address ?? '',
    port: service.port,
    prefix: txt['prefix'] ?? '',
    version: txt['version'] ?? '',
    proofs: Object.fromEntries(Object.entries(txt).flatMap(([key, value]) => (key.startsWith('proof-') ? [[key.slice('proof-'.length), value]] : []))),
  }
}

/**
 * Looks on all networks of this machine for places that announce themselves, until one is `wanted` or the time is over.
 * @returns all that were found; the wanted one, if any, is the last. No socket and no timer is left behind.
 */
export const findOnLan = async (wanted: (found: Found) => boolean, timeoutMs: number): Promise<Found[]> => {
  const found = new Map<string, Found>()
  const { promise: hit, resolve: stop } = Promise.withResolvers<void>()
  const responders = await Promise.all(ownAddresses().map(({ address }) => open(address)))
  const asking = new AbortController()
  const take = (service: Parameters<typeof readService>[0]) => {
    const each = readService(service)
    const key = `${each.host}:${each.port}`
    found.delete(key)
    found.set(key, each)
    if (wanted(each)) stop()
  }
  const browsers = responders.map((responder) => {
    const browser = responder.find({ type: TYPE })
    browser.on('up', take).on('txt-update', take).on('srv-update', take)
    return browser
  })
  const ask = async () => {
    while (!asking.signal.aborted) {
      for (const browser of browsers) browser.update()
      await sleep(ASK_MS, undefined, { signal: asking.signal }).catch(() => undefined)
    }
  }
  const asked = ask()
  await Promise.race([hit, sleep(timeoutMs, undefined, { signal: asking.signal }).catch(() => undefined)])
  asking.abort()
  await asked
  for (const browser of browsers) browser.stop()
  await Promise.all(responders.map(close))
  return [...found.values()].toSorted((a, b) => Number(wanted(a)) - Number(wanted(b)))
}
