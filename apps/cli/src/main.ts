#!/usr/bin/env node
import { VERSION, runMain } from '@drover/service'
import { Command } from 'commander'
import { type AppName, MAINS } from './project.ts'
import { status } from './status.ts'
import { up } from './up/up.ts'

const program = new Command('drover')
  .description('A job broker for language-model inference. Every command tells its settings with --help.')
  .version(VERSION)
  .enablePositionalOptions()
  .showHelpAfterError('(drover --help lists the commands)')

/** A command that reads its own settings: everything behind its name belongs to it, `--help` too. */
const command = (name: string, description: string, run: (args: string[]) => Promise<void>): void => {
  program
    .command(name)
    .description(description)
    .argument('[settings...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action((args: string[]) => runMain(() => run(args)))
}

/** Runs an app in this process. It reads its arguments itself, so they take the place of ours. */
const runApp = (app: AppName) => async (args: string[]): Promise<void> => {
  process.argv.splice(2, Infinity, ...args)
  await import(MAINS[app])
}

command('up', 'start Redis (a private one unless you name yours), gateway and worker together, until Ctrl-C', up)
command('gateway', 'start a gateway: HTTP in, jobs into Redis', runApp('gateway'))
command('worker', 'start a worker: jobs out of Redis, onto the engines of this node', runApp('worker'))
command('status', 'show nodes, engines and models, as a gateway sees them', status)
command('version', 'show the version', async () => console.log(`drover ${VERSION} (Node ${process.version})`))

await program.parseAsync()
