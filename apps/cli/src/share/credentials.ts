import { randomBytes } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Passwords } from '@drover/broker/roles'
import { ExitError } from '@drover/service'
import { z } from 'zod'

const Password = z.string().regex(/^[A-Za-z0-9]{16,}$/)
const File = z.object({ owner: Password, gateway: Password, worker: Password })

/** About 190 random bits in letters and digits, which no shell and no URL changes. */
const newPassword = (): string => randomBytes(64).toString('base64').replaceAll(/[^A-Za-z0-9]/g, '').slice(0, 32)

const fileOf = (data: string): string => join(data, 'share.json')

/** The passwords of a Redis that was shared before; `undefined` where none was. @throws ExitError when the file is not readable as such */
export const readPasswords = (data: string): Passwords | undefined => {
  const path = fileOf(data)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ExitError(`${path} cannot be read: ${(error as Error).message}`)
  }
  try {
    // Somebody may have copied it about.
    chmodSync(path, 0o600)
    return File.parse(JSON.parse(text))
  } catch {
    throw new ExitError(`${path} does not hold the passwords of a shared Redis: remove it for new ones; machines that have joined need the new line then`)
  }
}

/** The passwords of a shared Redis, made at the first time and then kept in a file of their owner alone. */
export const keepPasswords = (data: string): Passwords => {
  const kept = readPasswords(data)
  if (kept) return kept
  const passwords = { owner: newPassword(), gateway: newPassword(), worker: newPassword() }
  writeFileSync(fileOf(data), `${JSON.stringify(passwords, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' })
  return passwords
}
