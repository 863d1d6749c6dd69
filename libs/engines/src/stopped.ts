import { readFile } from 'node:fs/promises'

/** Whether a process is stopped (SIGSTOP, a debugger): it is there and does nothing. Only Linux tells; elsewhere none is. */
export const isStopped = async (pid: number): Promise<boolean> => {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // Its name stands before in brackets, and may have anything in it.
  return /^[Tt]/.test(stat.slice(stat.lastIndexOf(')') + 2))
}
