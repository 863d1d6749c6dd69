import { fileURLToPath } from 'node:url'

/** The folder that the project lies in. Everything that Drover writes by itself goes under its `.drover`. */
export const PROJECT = fileURLToPath(new URL('../../../', import.meta.url))

/** The programs that `drover gateway` and `drover worker` run; each starts itself when imported. */
export const MAINS = { gateway: '@drover/gateway/main', worker: '@drover/worker/main' } as const
export type AppName = keyof typeof MAINS

/** The file of an app's program, for a process of its own. */
export const mainFile = (app: AppName): string => fileURLToPath(import.meta.resolve(MAINS[app]))
