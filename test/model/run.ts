import fc from 'fast-check'
import { ends, GATEWAYS, histories, LANES, type Real } from './commands.ts'
import { Model } from './model.ts'
import { Witness } from './promises.ts'
import type { RealBroker } from './real.ts'

const STEPS = 40

/** Any history, run on the scripts and on the model; then every fault is lifted. */
export const historyProperty = (broker: RealBroker) =>
  fc.asyncProperty(histories(STEPS), async (steps) => {
    await broker.clear(GATEWAYS)
    const model = new Model(LANES, GATEWAYS)
    const real: Real = { broker, witness: new Witness() }
    await fc.asyncModelRun(() => ({ model, real }), steps)
    await ends(model, real)
  })
