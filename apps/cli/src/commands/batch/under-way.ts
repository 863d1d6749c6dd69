import { access, constants, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ExitError } from '@drover/service'
import { z } from 'zod'
import { jsonOf, reasonOf } from '../../gateway-client.ts'

const UnderWay = z.object({ batch: z.string() })

const pathOf = (output: string): string => `${output}.batch`

/** The batch whose answers an output file waits for; it lies beside that file until they are there. */
export const underWay = async (output: string): Promise<string | undefined> => {
  const text = await readFile(pathOf(output), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new ExitError(`${pathOf(output)} cannot be read (${reasonOf(error)})`)
  })
  if (text === undefined) return undefined
  const parsed = UnderWay.safeParse(jsonOf(text))
  if (!parsed.success) throw new ExitError(`${pathOf(output)} names no batch: remove it to begin anew`)
  return parsed.data.batch
}

/** @throws ExitError before anything is sent, when the answers could not be written */
export const mustBeWritable = (output: string): Promise<void> =>
  access(dirname(output), constants.W_OK).catch((error: unknown) => {
    throw new ExitError(`${output} cannot be written (${reasonOf(error)})`)
  })

export const noteUnderWay = (output: string, batch: string): Promise<void> =>
  writeFile(pathOf(output), `${JSON.stringify({ batch })}\n`).catch((error: unknown) => {
    throw new ExitError(`${pathOf(output)} cannot be written (${reasonOf(error)})`)
  })

export const noteDone = (output: string): Promise<void> => rm(pathOf(output), { force: true })
