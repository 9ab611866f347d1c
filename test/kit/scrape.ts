/** A scrape in Prometheus text format, read. For tests only. */

export interface Scraped {
  readonly name: string
  readonly type: string
  readonly samples: readonly ScrapedSample[]
}

export interface ScrapedSample {
  /** The metric's, or with `_bucket`, `_sum`, `_count`. */
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g
const PART = /_(?:bucket|sum|count)$/

/** By metric name. Throws for a line that is none, a sample without its TYPE, a TYPE twice, a series twice. */
export function parseScrape(text: string): ReadonlyMap<string, Scraped> {
  const metrics = new Map<string, Scraped>()
  for (const block of text.split(/^(?=# TYPE )/m)) {
    const [, name, type = ''] = /^# TYPE (\S+) (\S+)$/m.exec(block) ?? []
    const lines = block.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    if (name === undefined && lines.length === 0) continue
    if (name === undefined || metrics.has(name)) throw new Error(`declared twice or not: ${name}`)
    metrics.set(name, { name, type, samples: readSamples(name, lines) })
  }
  return metrics
}

function readSamples(name: string, lines: readonly string[]): readonly ScrapedSample[] {
  const samples = lines.map(parseSample)
  const stray = samples.find((s) => s.name !== name && s.name.replace(PART, '') !== name)
  if (stray !== undefined) throw new Error(`${stray.name} stands under ${name}`)
  const series = samples.map((s) => `${s.name}${JSON.stringify(Object.entries(s.labels).sort())}`)
  const twice = series.find((text, i) => series.indexOf(text) !== i)
  if (twice !== undefined) throw new Error(`twice: ${twice}`)
  return samples
}

function parseSample(line: string): ScrapedSample {
  const [, name, labels = '', value] = LINE.exec(line) ?? []
  if (name === undefined) throw new Error(`no sample: ${line}`)
  const pairs = [...labels.matchAll(LABEL)].map(([, key = '', text = '']) => [key, text])
  return { name, labels: Object.fromEntries(pairs), value: Number(value) }
}

/** The sum over the samples of `name` that have these labels; undefined: there is none. */
export function sumOf(
  scrape: ReadonlyMap<string, Scraped>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const metric = scrape.get(name) ?? scrape.get(name.replace(PART, ''))
  const found = (metric?.samples ?? []).filter(
    (s) =>
      s.name === name && Object.entries(labels).every(([key, value]) => s.labels[key] === value),
  )
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
}
