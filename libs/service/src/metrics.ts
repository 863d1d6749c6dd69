import { Registry, collectDefaultMetrics } from 'prom-client'

export { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** What every metric of ours begins with. */
export const METRIC_PREFIX = 'drover_'

/** Histogram bounds in seconds. */
export const BUCKETS = {
  /** Between two tokens: from a fast engine's pace to a stall. */
  interToken: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5],
  /** Received to first token: from a warm model to one that must be loaded. */
  firstToken: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300],
  /** Added to leased. */
  queueWait: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800],
  /** A whole request. */
  request: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800],
  /** One call to Redis. */
  redis: [0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
} as const satisfies Record<string, readonly number[]>

/** A registry of its own per process (none is global), with the process' own figures in it. */
export const createMetrics = (): Registry => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: METRIC_PREFIX })
  return registry
}

/** The text that a scraper reads. */
export const exposition = async (registry: Registry): Promise<{ contentType: string; body: string }> => ({
  contentType: registry.contentType,
  body: await registry.metrics(),
})
