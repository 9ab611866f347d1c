/**
 * A program's metrics, by prom-client: declared once with name, help and labels, read as Prometheus text.
 * In: declarations, counts, and functions that say how things are at the moment of a scrape. Out: text format 0.0.4.
 * The declarations are also what docs/reference/metrics.md is generated from. Label values are the caller's to bound.
 */
import { Counter, collectDefaultMetrics, Histogram, type Metric, Registry } from 'prom-client'

export type MetricType = 'counter' | 'gauge' | 'histogram'

export interface Declaration {
  readonly name: string
  readonly type: MetricType
  readonly help: string
  readonly labels: readonly string[]
}

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
  /** Where it is not the metric's own: `_bucket`, `_sum`, `_count`. */
  readonly suffix?: string
}

/** A histogram that is counted elsewhere. `counts` has one more than `bounds`, not cumulative. */
export interface CountedHistogram {
  readonly bounds: readonly number[]
  readonly counts: readonly number[]
  readonly sum: number
}

type Labels<L extends string> = Readonly<Record<L, string>>

interface Options<L extends string> {
  readonly help: string
  readonly labels?: readonly L[]
}

/** From a millisecond to half a minute: passes, compilations, acknowledgements. */
const WORK_BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

export class Metrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE
  readonly #registry = new Registry()
  readonly #declared: Declaration[] = []
  readonly #prefix: string

  /** `prefix` starts the name of everything that is declared here, `process_*` and `nodejs_*` apart. */
  constructor(prefix: string) {
    this.#prefix = prefix
  }

  /** CPU, memory, file descriptors, event-loop lag and garbage collection of this process. */
  collectProcess(): void {
    collectDefaultMetrics({ register: this.#registry })
  }

  /** Returns the way to count. With labels, a series appears with its first count. */
  counter<L extends string = never>(
    name: string,
    { help, labels = [] }: Options<L>,
  ): (labels: Labels<L>, by?: number) => void {
    const declared = this.#declare(name, 'counter', help, labels)
    const counter = new Counter({ ...toPromClient(declared), registers: [this.#registry] })
    return (of, by = 1) => counter.inc(of, by)
  }

  /** Returns the way to observe, in seconds. */
  histogram<L extends string = never>(
    name: string,
    { help, labels = [] }: Options<L>,
  ): (labels: Labels<L>, seconds: number) => void {
    const declared = this.#declare(name, 'histogram', help, labels)
    const histogram = new Histogram({
      ...toPromClient(declared),
      buckets: WORK_BUCKETS,
      registers: [this.#registry],
    })
    return (of, seconds) => histogram.observe(of, seconds)
  }

  /** A metric whose samples are read at each scrape. A number is one sample; undefined: none now. */
  read<L extends string = never>(
    name: string,
    { help, labels = [], type = 'gauge' }: Options<L> & { readonly type?: MetricType },
    samples: () => number | undefined | readonly Sample[],
  ): void {
    const declared = this.#declare(name, type, help, labels)
    const get = async () => ({
      name: declared.name,
      help,
      type,
      aggregator: 'sum',
      values: toSamples(samples()).map(({ suffix = '', ...sample }) => ({
        ...{ labels: {}, metricName: declared.name + suffix },
        ...sample,
      })),
    })
    // What the registry asks of a metric: its name and `get()`.
    this.#registry.registerMetric({ name: declared.name, get } as unknown as Metric)
  }

  /** Everything as text. A metric that can't be read is a bug and rejects. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }

  /** Everything that is declared here, in order. */
  declarations(): readonly Declaration[] {
    return this.#declared
  }

  #declare(name: string, type: MetricType, help: string, labels: readonly string[]): Declaration {
    const declared = { name: this.#prefix + name, type, help, labels }
    this.#declared.push(declared)
    return declared
  }
}

/** What `collectProcess` brings, by name; which labels they have is prom-client's. */
export async function processDeclarations(): Promise<readonly Declaration[]> {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const all = await registry.getMetricsAsJSON()
  return all.map(({ name, help, type }) => ({
    ...{ name, help, labels: [] },
    type: String(type) as MetricType,
  }))
}

/** The samples of a histogram that was counted elsewhere. */
export function histogramSamples({ bounds, counts, sum }: CountedHistogram): readonly Sample[] {
  let total = 0
  const buckets = counts.map((count, i) => {
    total += count
    return { labels: { le: String(bounds[i] ?? '+Inf') }, value: total, suffix: '_bucket' }
  })
  return [...buckets, { value: sum, suffix: '_sum' }, { value: total, suffix: '_count' }]
}

function toPromClient({ name, help, labels }: Declaration) {
  return { name, help, labelNames: [...labels] }
}

function toSamples(value: number | undefined | readonly Sample[]): readonly Sample[] {
  if (value === undefined) return []
  return typeof value === 'number' ? [{ value }] : value
}
