/**
 * A real OpenTelemetry Collector: takes OTLP over gRPC, writes what it got to a file. For tests only.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './ports.ts'
import { startProcess } from './process.ts'
import { tempDir } from './tempdir.ts'
import { toolPath } from './tools.ts'

/** OTLP's SPAN_KIND_SERVER. */
export const SERVER = 2

export interface CollectedSpan {
  readonly traceId: string
  readonly spanId: string
  /** Empty: the root. */
  readonly parentSpanId: string
  readonly name: string
  readonly kind: number
  readonly service: string
  readonly attributes: Readonly<Record<string, string>>
}

export interface Collector {
  readonly port: number
  /** What it got so far, by trace. */
  traces(): readonly (readonly CollectedSpan[])[]
}

/** Resolves when it takes spans; it ends with the test. */
export async function startCollector(t: Test): Promise<Collector> {
  const dir = tempDir(t)
  const port = await freePort()
  const file = join(dir, 'spans.jsonl')
  const config = {
    receivers: { otlp: { protocols: { grpc: { endpoint: `127.0.0.1:${port}` } } } },
    exporters: { file: { path: file, flush_interval: '100ms' } },
    service: {
      telemetry: { metrics: { level: 'none' } },
      pipelines: { traces: { receivers: ['otlp'], exporters: ['file'] } },
    },
  }
  const path = join(dir, 'otelcol.yaml')
  writeFileSync(path, JSON.stringify(config))
  const child = startProcess(t, toolPath('otelcol'), ['--config', `file:${path}`])
  await child.waitForLine(/Everything is ready/)
  return { port, traces: () => toTraces(existsSync(file) ? readFileSync(file, 'utf8') : '') }
}

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string }
}

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes?: readonly Attribute[] }
    readonly scopeSpans: readonly {
      readonly spans: readonly (Omit<CollectedSpan, 'attributes' | 'service'> & {
        readonly attributes?: readonly Attribute[]
      })[]
    }[]
  }[]
}

/** One export a line; the last may be half written. */
function toTraces(text: string): readonly (readonly CollectedSpan[])[] {
  const lines = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1)
  const traces = new Map<string, CollectedSpan[]>()
  for (const span of lines.flatMap((line) => spansOf(JSON.parse(line) as Export))) {
    const trace = traces.get(span.traceId) ?? []
    trace.push(span)
    traces.set(span.traceId, trace)
  }
  return [...traces.values()]
}

function spansOf({ resourceSpans }: Export): readonly CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = toRecord(resource.attributes)['service.name'] ?? ''
    return scopeSpans
      .flatMap(({ spans }) => spans)
      .map(({ attributes, ...span }) => ({
        ...span,
        parentSpanId: span.parentSpanId ?? '',
        service,
        attributes: toRecord(attributes),
      }))
  })
}

function toRecord(attributes: readonly Attribute[] = []): Readonly<Record<string, string>> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? '']))
}
