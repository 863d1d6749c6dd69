import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commitOf, ROOT } from '../bench/machine.ts'
import { runCampaign } from './campaign.ts'
import { readOptions, USAGE, type FaultsOptions } from './options.ts'
import { report } from './table.ts'

const print = (text = '') => process.stdout.write(`${text}\n`)
const progress = (text: string) => process.stderr.write(`${text}\n`)

const options = ((): FaultsOptions => {
  try {
    const read = readOptions(process.argv.slice(2))
    if (read !== 'help') return read
    print(USAGE)
    process.exit(0)
  } catch (error) {
    progress(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    process.exit(2)
  }
})()

const folder = options.folder ?? join(ROOT, '.drover', 'faults', new Date().toISOString().replaceAll(':', '-').slice(0, 19))
const { minutes, seed, only, appendfsync, clients, dir } = options
progress(`seed ${seed}, ${minutes} minutes, ${clients} clients, appendfsync ${appendfsync}${only ? `, only ${only.join(', ')}` : ''}; history in ${folder}`)
const verdict = await runCampaign({ ...options, folder, progress })
const command = `npm run faults -- --minutes ${minutes} --seed ${seed}${only ? ` --only ${only.join(',')}` : ''}${appendfsync === 'always' ? ' --appendfsync always' : ''}${clients === 40 ? '' : ` --clients ${clients}`}`
print(`\n${command} (${commitOf(dir ?? ROOT)})\n`)
print(report(verdict))
writeFileSync(join(folder, 'verdict.json'), `${JSON.stringify({ command, seed, minutes, ...verdict }, undefined, 1)}\n`)
print(`\n${verdict.violations.length === 0 ? 'kept' : 'NOT KEPT'}: seed ${seed}, history in ${folder}`)
process.exit(verdict.violations.length === 0 ? 0 : 1)
