import { defineConfig, EXIT, ExitError, loadConfig, setting } from '@drover/service'
import { z } from 'zod'
import { readJson } from '../../gateway-client.ts'
import { clientSettings, gatewayOf, jsonSetting } from '../client-settings.ts'
import { outputWidth, print, printJson } from '../output.ts'
import { type Column, tableLines } from '../table.ts'
import { size } from '../units.ts'
import { splitWords } from '../words.ts'
import { Member, sizeColumns } from './members.ts'

const Device = z.object({ node: z.string(), device: z.string(), total: z.number(), free: z.number() })
const asked = { model: z.string(), coordinator: z.string(), context_length: z.number(), slots: z.number(), kv_type: z.string(), devices: z.array(Device) }
const Planned = z.discriminatedUnion('fits', [
  z.looseObject({ ...asked, fits: z.literal(true), members: z.array(Member), besides: z.number() }),
  z.looseObject({ ...asked, fits: z.literal(false), reason: z.string(), never: z.boolean() }),
])
type Planned = z.infer<typeof Planned>

/** A device that lends, and the part of the model that would lie there. */
interface Row {
  node: string
  device: string
  member: Member | undefined
  /** Absent: it lends nothing any more. */
  lends: z.infer<typeof Device> | undefined
}

const columns: Column<Row>[] = [
  { title: 'NODE', cell: ({ node }) => node },
  { title: 'DEVICE', cell: ({ device }) => device },
  ...sizeColumns,
  { title: 'FREE', cell: ({ lends }) => (lends ? size(lends.free) : ''), right: true },
  { title: 'LENDS', cell: ({ lends }) => (lends ? size(lends.total) : ''), right: true },
]

const isAt = (at: { node: string; device: string }) => (each: { node: string; device: string }) => each.node === at.node && each.device === at.device

/** The parts in the order of their layers, then the devices that are not needed. */
const rowsOf = ({ devices, ...plan }: Planned): Row[] => {
  const members = plan.fits ? plan.members : []
  const parts = members.map((member): Row => ({ node: member.node, device: member.device, member, lends: devices.find(isAt(member)) }))
  return [...parts, ...devices.filter((lends) => !members.some(isAt(lends))).map((lends): Row => ({ node: lends.node, device: lends.device, member: undefined, lends }))]
}

const planConfig = defineConfig('cli', {
  ...clientSettings,
  ...jsonSetting,
  context: setting({ schema: z.int().min(1).optional(), describe: 'tokens per slot; else 4096' }),
  slots: setting({ schema: z.int().min(1).optional(), describe: 'answers at once; else 2' }),
  kvType: setting({ schema: z.string().optional(), describe: 'how a number of the KV cache is kept, like q8_0; else f16' }),
  flashAttention: setting({ schema: z.boolean().optional(), describe: 'whether flash attention is used; else as llama.cpp does' }),
  over: setting({ schema: z.array(z.string()).default([]), describe: 'only memory of this node, besides the coordinator’s own; may be given several times' }),
})
const USAGE = 'drover plan MODEL [--context N] [--slots N] [--kv-type TYPE] [--over NODE …] [--json]'

/** `drover plan MODEL`: how it would be spread over the nodes now, or what is missing; nothing is done. */
export const plan = async (argv: readonly string[]): Promise<void> => {
  const { words, flags } = splitWords(planConfig.settings, argv)
  const { values } = loadConfig(planConfig, { argv: flags, usage: USAGE })
  const [model = '', ...more] = words
  if (model === '' || more.length > 0) throw new ExitError(`expected one model: ${USAGE}`)
  const { context, slots, kvType, flashAttention, over } = values
  const wish = { model, context, slots, kv_type: kvType, flash_attention: flashAttention, ...(over.length > 0 && { nodes: over }) }
  const { value: planned } = await readJson(gatewayOf(values), '/api/plan', Planned, JSON.stringify(wish))
  if (values.json) printJson(planned)
  else {
    const { coordinator, slots: count, context_length: tokens, kv_type: kept } = planned
    if (planned.fits) print(`${planned.model} fits, coordinated by ${coordinator}: ${count} ${count === 1 ? 'slot' : 'slots'} of ${tokens} tokens, cache ${kept}; besides its layers ${coordinator} needs ${size(planned.besides)}\n`)
    if (planned.devices.length > 0) for (const line of tableLines(columns, rowsOf(planned), outputWidth())) print(line)
  }
  if (!planned.fits) throw new ExitError(`${planned.model} does not fit: ${planned.reason}${planned.never ? '' : '; it would if nothing else used the memory'}`, EXIT.failed)
}
