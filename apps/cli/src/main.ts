#!/usr/bin/env node
import { VERSION, runMain } from '@drover/service'
import { Command } from 'commander'
import { batch } from './commands/batch/batch.ts'
import { clusters } from './commands/clusters/clusters.ts'
import { dist } from './commands/clusters/dist.ts'
import { plan } from './commands/clusters/plan.ts'
import { drain, undrain } from './commands/drain.ts'
import { jobs } from './commands/jobs/jobs.ts'
import { keys } from './commands/keys/keys.ts'
import { list } from './commands/list.ts'
import { cp, rm } from './commands/models/change.ts'
import { create } from './commands/models/create.ts'
import { load, unload } from './commands/models/memory.ts'
import { models } from './commands/models/models.ts'
import { pull, push, transfer } from './commands/models/transfer.ts'
import { nodes } from './commands/nodes.ts'
import { endWithReader } from './commands/output.ts'
import { ps } from './commands/ps.ts'
import { run } from './commands/run/run.ts'
import { show } from './commands/show.ts'
import { status } from './commands/status.ts'
import { type AppName, MAINS } from './project.ts'

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

/** A command that asks and prints. */
const reading = (run: (args: string[]) => Promise<void>) => async (args: string[]): Promise<void> => {
  endWithReader()
  await run(args)
}

/** Runs an app in this process. It reads its arguments itself, so they take the place of ours. */
const runApp = (app: AppName) => async (args: string[]): Promise<void> => {
  process.argv.splice(2, Infinity, ...args)
  await import(MAINS[app])
}

// What brings the broker or the engines with it is loaded when it is called: the other commands are typed often, and answer at once.
command('up', 'start Redis (a private one unless you name yours), gateway and worker together, until Ctrl-C', async (args) => (await import('./up/up.ts')).up(args))
command('gateway', 'start a gateway: HTTP in, jobs into Redis', runApp('gateway'))
command('worker', 'start a worker: jobs out of Redis, onto the engines of this node', runApp('worker'))
command('doctor', 'check this machine, its Redis and its engines, and say what to do', reading(async (args) => (await import('./commands/doctor/doctor.ts')).doctor(args)))
command('status', 'show nodes, engines and models, as a gateway sees them', reading(status))
command('nodes', 'list the nodes: engines, slots, memory', reading(nodes))
command('drain', 'let a node take no more jobs; what runs there goes on', reading(drain))
command('undrain', 'let a drained node take jobs again', reading(undrain))
command('ps', 'list the models in memory, and where', reading(ps))
command('list', 'list the models of all nodes', reading(list))
command('show', 'show a model: details, nodes, who waits for it', reading(show))
command('models', 'show which models are on which nodes, and in whose memory; apply, diff and state: which are to be there', reading(models))
command('pull', 'bring a model to nodes', reading(pull))
command('push', 'send a model to its registry', reading(push))
command('transfer', 'copy a model from one node to another', reading(transfer))
command('cp', 'copy a model under another name, on all nodes that hold it', reading(cp))
command('rm', 'delete models on all nodes that hold them', reading(rm))
command('create', 'make a model from another or of files, with what a Modelfile says', reading(create))
command('load', 'bring a model into the memory of nodes', reading(load))
command('unload', 'take models out of the memory of nodes', reading(unload))
command('clusters', 'list the models that run over several nodes, and who has which part', reading(clusters))
command('plan', 'tell how a model would be spread over several nodes, or what is missing', reading(plan))
command('dist', 'ask a model that is to run over several nodes, and tell which had a part in it', reading(dist))
command('keys', 'make, list, change, revoke and rotate API keys', reading(keys))
command('run', 'ask a model: a prompt, a pipe, or a conversation', reading(run))
command('batch', 'many requests in a file, their answers in another: run, submit, status, results, cancel, list', reading(batch))
command('jobs', 'requests that were handed in: list, show, follow, cancel', reading(jobs))
command('version', 'show the version', async () => console.log(`drover ${VERSION} (Node ${process.version})`))

await program.parseAsync()
