import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** As much as V8 can; pages that it keeps in store go back to the system. */
const COLLECT = { type: 'major', execution: 'sync', flavor: 'last-resort' }
/** Memory of buffers is given back by another thread, ms. */
const SWEPT_MS = 300

/**
 * Loaded into a gateway or worker with `--import`: on SIGUSR2 it collects its garbage and tells its parent what is left, so that
 * memory in use can be told from memory not yet collected.
 */
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: typeof COLLECT) => void
process.on('SIGUSR2', () => {
  collect(COLLECT)
  setTimeout(() => {
    collect(COLLECT)
    setTimeout(() => process.send?.({ settled: process.memoryUsage() }), SWEPT_MS)
  }, SWEPT_MS)
})
