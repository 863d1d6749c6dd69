import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Loaded into a gateway or worker with `--import`: on SIGUSR2 it collects its garbage and tells its parent what is left, so that
 * memory in use can be told from memory not yet collected.
 */
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
process.on('SIGUSR2', () => {
  collect()
  collect()
  process.send?.({ settled: process.memoryUsage() })
})
