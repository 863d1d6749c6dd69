/**
 * Loaded before a process' own code, it puts that process' clock wrong: `CAMPAIGN_SKEW_MS` off, and after `CAMPAIGN_STEP_AFTER_MS` as far
 * off on the other side. Everything that Node's own programs know of the time of day comes from `Date`; the monotonic clock stays.
 */
const RealDate = Date
const skew = Number(process.env['CAMPAIGN_SKEW_MS'] ?? 0)
const stepAt = performance.now() + Number(process.env['CAMPAIGN_STEP_AFTER_MS'] ?? Infinity)
const off = (): number => (performance.now() < stepAt ? skew : -skew)

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args: unknown[], newTarget) => Reflect.construct(target, args.length === 0 ? [RealDate.now() + off()] : args, newTarget) as Date,
  apply: () => new RealDate(RealDate.now() + off()).toString(),
  get: (target, name, receiver) => (name === 'now' ? () => RealDate.now() + off() : (Reflect.get(target, name, receiver) as unknown)),
})
