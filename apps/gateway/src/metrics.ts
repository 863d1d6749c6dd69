import type { BrokerError, DialectId, ModelName, NodeRecord } from '@drover/core'
import { BUCKETS, Counter, createMetrics, Gauge, Histogram, METRIC_PREFIX, type Registry } from '@drover/service'
import { clusterGauges } from './clusters/metrics.ts'
import type { ReplyFacts } from './reply.ts'
import type { Outcome } from './webhooks/deliverer.ts'

export interface GatewayMetrics {
  registry: Registry
  answered(dialect: DialectId, model: ModelName, facts: ReplyFacts): void
  refused(dialect: DialectId, error: BrokerError): void
  /** A request whose client does not wait for its end. */
  accepted(dialect: DialectId): void
  webhook(outcome: Outcome): void
}

export interface MetricSources {
  /** Answers under way here. */
  open(): number
  /** Waiting and running jobs of every lane. */
  lanes(): Promise<{ model: string; class: string; waiting: number; running: number; bytes: number }[]>
  nodes(): readonly NodeRecord[]
  /** Things that are not as described, where this gateway acts on it. */
  drift(): number
  /** Redis'. */
  memory(): { use: { used: number; limit?: number }; full: boolean }
}

/** What a gateway counts. The stems are those that people already have on their dashboards. */
export const gatewayMetrics = (sources: MetricSources): GatewayMetrics => {
  const registry = createMetrics()
  const named = (name: string, help: string) => ({ name: `${METRIC_PREFIX}${name}`, help, registers: [registry] })
  const requests = new Counter({ ...named('requests_total', 'Requests by dialect and how they ended'), labelNames: ['dialect', 'outcome'] })
  const firstToken = new Histogram({
    ...named('time_to_first_token_seconds', 'Request received to first text sent'),
    labelNames: ['model'],
    buckets: [...BUCKETS.firstToken],
  })
  const total = new Histogram({
    ...named('e2e_request_latency_seconds', 'Request received to end of the answer'),
    labelNames: ['model'],
    buckets: [...BUCKETS.request],
  })
  const promptTokens = new Counter({ ...named('prompt_tokens_total', 'Tokens read by engines'), labelNames: ['model'] })
  const generatedTokens = new Counter({ ...named('generation_tokens_total', 'Tokens written by engines'), labelNames: ['model'] })
  const resumed = new Counter({ ...named('resumed_total', 'Times that another attempt took up an answer, by how'), labelNames: ['model', 'rung'] })
  const webhooks = new Counter({ ...named('webhook_deliveries_total', 'Tries to tell an endpoint of an event, by how they went'), labelNames: ['outcome'] })
  const gauge = (name: string, help: string, read: () => number) =>
    registry.registerMetric(new Gauge({ ...named(name, help), registers: [], collect() { this.set(read()) } }))
  gauge('open_answers', 'Answers under way on this gateway', sources.open)
  gauge('nodes', 'Living nodes', () => sources.nodes().length)
  gauge('models_drift', 'What is not as described of models and nodes, on the gateway that acts on it', sources.drift)
  clusterGauges(registry, sources.nodes)
  gauge('redis_memory_used_bytes', "Memory that counts against Redis' limit", () => sources.memory().use.used)
  gauge('redis_memory_limit_bytes', "Redis' memory limit, 0 for none", () => sources.memory().use.limit ?? 0)
  gauge('redis_memory_full', '1 while new requests are refused because Redis has little memory left', () => Number(sources.memory().full))
  registry.registerMetric(
    new Counter({
      ...named('preempted_total', 'Batch attempts that made room for interactive jobs, as their nodes count them'),
      registers: [],
      labelNames: ['node'],
      collect() {
        this.reset()
        for (const { id, preempted } of sources.nodes()) if (preempted !== undefined) this.inc({ node: id }, preempted)
      },
    }),
  )
  const laneGauge = (name: string, help: string, field: 'waiting' | 'running' | 'bytes') =>
    registry.registerMetric(
      new Gauge({
        ...named(name, help),
        registers: [],
        labelNames: ['model', 'class'],
        async collect() {
          const lanes = await sources.lanes().catch(() => [])
          // What its jobs require makes several lanes of one model and class.
          this.reset()
          for (const lane of lanes) this.inc({ model: lane.model, class: lane.class }, lane[field])
        },
      }),
    )
  laneGauge('num_requests_waiting', 'Jobs that wait in a lane', 'waiting')
  laneGauge('num_requests_running', 'Jobs that a worker holds', 'running')
  laneGauge('requests_bytes', 'Bytes of the requests of a lane, waiting and running', 'bytes')
  return {
    registry,
    answered(dialect, model, { record, firstTextMs, totalMs, clientLeft, resumed: rungs }) {
      requests.inc({ dialect, outcome: clientLeft ? 'client_left' : (record?.outcome ?? 'failed') })
      total.observe({ model }, totalMs / 1000)
      if (firstTextMs !== undefined) firstToken.observe({ model }, firstTextMs / 1000)
      for (const rung of rungs) resumed.inc({ model, rung })
      if (!record?.usage) return
      promptTokens.inc({ model }, record.usage.promptTokens)
      generatedTokens.inc({ model }, record.usage.completionTokens)
    },
    refused: (dialect, error) => requests.inc({ dialect, outcome: error.code }),
    accepted: (dialect) => requests.inc({ dialect, outcome: 'accepted' }),
    webhook: (outcome) => webhooks.inc({ outcome }),
  }
}
