import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commitOf, ROOT } from '../bench/machine.ts'
import { runCampaign } from './campaign.ts'
import { copyTree } from './copied-tree.ts'
import { isSound, trialTable, tryMutations } from './mutate.ts'
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
const { minutes, seed, only, appendfsync, clients, batch, dir, mutate } = options

if (mutate !== undefined) {
  const tree = copyTree(dir ?? ROOT)
  process.once('exit', tree.remove)
  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) process.once(signal, () => process.exit(code))
  progress(`seed ${seed}, histories in ${folder}`)
  const trials = await tryMutations({ tree, seed, only: mutate, folder, progress }).catch((error: unknown) => {
    progress(error instanceof Error ? error.message : String(error))
    return process.exit(1)
  })
  print(`\nnpm run faults -- --mutate${mutate === '' ? '' : ` '${mutate}'`} --seed ${seed} (${commitOf(dir ?? ROOT)})\n`)
  print(trialTable(trials))
  print(`\n${isSound(trials) ? 'found, each' : 'NOT SOUND'}: seed ${seed}, histories in ${folder}`)
  process.exit(isSound(trials) ? 0 : 1)
}

progress(`seed ${seed}, ${minutes} minutes, ${clients} clients, appendfsync ${appendfsync}${only ? `, only ${only.join(', ')}` : ''}; history in ${folder}`)
const verdict = await runCampaign({ ...options, folder, progress })
const command = `npm run faults -- --minutes ${minutes} --seed ${seed}${only ? ` --only ${only.join(',')}` : ''}${appendfsync === 'always' ? ' --appendfsync always' : ''}${clients === 40 ? '' : ` --clients ${clients}`}${batch === 0 ? '' : ` --batch ${batch}`}`
print(`\n${command} (${commitOf(dir ?? ROOT)})\n`)
print(report(verdict))
writeFileSync(join(folder, 'verdict.json'), `${JSON.stringify({ command, seed, minutes, ...verdict }, undefined, 1)}\n`)
print(`\n${verdict.violations.length === 0 ? 'kept' : 'NOT KEPT'}: seed ${seed}, history in ${folder}`)
process.exit(verdict.violations.length === 0 ? 0 : 1)
