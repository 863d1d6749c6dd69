import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { Mutation } from '../model/mutations.ts'

/** A copy of what a gateway and a worker run, in which checks can be taken away. */
export interface CopiedTree {
  dir: string
  /** Takes the check away; returns what puts it back. @throws Error when its text does not stand there exactly once */
  mutate(mutation: Pick<Mutation, 'name' | 'file' | 'from' | 'to'>): () => void
  remove(): void
}

/** The packages of this project: in the copy their names lead to the copy. */
const OURS = '@drover'
const WORKSPACES = ['libs', 'apps'] as const
/** Not packages, and not to be shared. */
const isPackage = (name: string): boolean => !name.startsWith('.') && name !== OURS

/** Copies a checkout's apps and libs to a temporary folder; what they depend on is linked. */
export const copyTree = (root: string): CopiedTree => {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'drover-copy-')))
  const modules = join(root, 'node_modules')
  const own = join(dir, 'node_modules', OURS)
  mkdirSync(own, { recursive: true })
  cpSync(join(root, 'package.json'), join(dir, 'package.json'))
  for (const name of readdirSync(modules).filter(isPackage)) symlinkSync(join(modules, name), join(dir, 'node_modules', name))
  for (const kind of WORKSPACES) {
    cpSync(join(root, kind), join(dir, kind), { recursive: true, filter: (path) => !path.endsWith('.test.ts') && basename(path) !== 'node_modules' })
    for (const name of readdirSync(join(dir, kind))) {
      const { name: full } = JSON.parse(readFileSync(join(dir, kind, name, 'package.json'), 'utf8')) as { name: string }
      symlinkSync(join(dir, kind, name), join(own, full.slice(OURS.length + 1)))
    }
  }
  return {
    dir,
    mutate({ name, file, from, to }) {
      const path = join(dir, 'libs', 'broker', 'src', 'lua', file)
      const source = readFileSync(path, 'utf8')
      const times = source.split(from).length - 1
      if (times !== 1) throw new Error(`the mutation "${name}" is out of date: its text stands ${times} times in ${file}, not once`)
      writeFileSync(path, source.replace(from, () => to))
      return () => writeFileSync(path, source)
    },
    remove: () => rmSync(dir, { recursive: true, force: true }),
  }
}
