/**
 * What Envoy does before it runs out: connections and memory are bounded, and what is given up first is what costs
 * least. Refusing is the last step but never the wrong one: a refused request was let in nowhere.
 * Source: Envoy's overload manager; the steps after its "configuring as an edge proxy".
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type Any, anyPack } from '@bufbuild/protobuf/wkt'
import {
  type OverloadManagerSchema,
  type ResourceMonitor,
  ResourceMonitorSchema,
} from '../../../proto/gen/envoy/config/overload/v3/overload_pb.js'
import { DownstreamConnectionsConfigSchema } from '../../../proto/gen/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.js'
import { FixedHeapConfigSchema } from '../../../proto/gen/envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap_pb.js'

export interface OverloadLimits {
  /** Connections that Envoy accepts at most, over all listeners. */
  readonly maxConnections: number
  /** Bytes of memory from which shares are counted. */
  readonly maxHeapBytes: number
}

const CONNECTIONS = 'envoy.resource_monitors.global_downstream_max_connections'
const HEAP = 'envoy.resource_monitors.fixed_heap'

/** An unlimited machine gives Envoy this much: some 20,000 idle connections with their TLS, and room. */
const DEFAULT_HEAP_BYTES = 1024 ** 3
/** Of a container's memory; the rest is the sidecar's, with its WASM. */
const HEAP_SHARE = 0.6
/** Buffers of a stream count from 2^this = 64 KiB on, a connection's own buffer. */
const TRACKED_STREAM_POWER = 16

/** Shares of the heap at which each thing is given up, cheapest first. */
const STEPS = [
  { name: 'envoy.overload_actions.shrink_heap', at: 0.85 },
  { name: 'envoy.overload_actions.disable_http_keepalive', at: 0.9 },
  { name: 'envoy.overload_actions.stop_accepting_requests', at: 0.95 },
] as const
/** The streams that hold most are reset first, more of them as it gets tighter. */
const RESET_STREAMS = {
  name: 'envoy.overload_actions.reset_high_memory_stream',
  from: 0.92,
  to: 0.98,
}

/** What Envoy may take of a memory limit; without one, or with one that is beyond it, 1 GiB. */
export function envoyHeapBytes(memoryLimitBytes: number | undefined): number {
  const share = Math.floor((memoryLimitBytes ?? Number.POSITIVE_INFINITY) * HEAP_SHARE)
  return share > 0 ? Math.min(share, DEFAULT_HEAP_BYTES) : DEFAULT_HEAP_BYTES
}

export function buildOverload(
  limits: OverloadLimits,
): MessageInitShape<typeof OverloadManagerSchema> {
  const connections = create(DownstreamConnectionsConfigSchema, {
    maxActiveDownstreamConnections: BigInt(limits.maxConnections),
  })
  const heap = create(FixedHeapConfigSchema, { maxHeapSizeBytes: BigInt(limits.maxHeapBytes) })
  const scaled = { scalingThreshold: RESET_STREAMS.from, saturationThreshold: RESET_STREAMS.to }
  return {
    resourceMonitors: [
      monitor(CONNECTIONS, anyPack(DownstreamConnectionsConfigSchema, connections)),
      monitor(HEAP, anyPack(FixedHeapConfigSchema, heap)),
    ],
    actions: [
      ...STEPS.map(({ name, at }) => ({
        name,
        triggers: [
          { name: HEAP, triggerOneof: { case: 'threshold' as const, value: { value: at } } },
        ],
      })),
      {
        name: RESET_STREAMS.name,
        triggers: [{ name: HEAP, triggerOneof: { case: 'scaled', value: scaled } }],
      },
    ],
    bufferFactoryConfig: { minimumAccountToTrackPowerOfTwo: TRACKED_STREAM_POWER },
  }
}

function monitor(name: string, value: Any): ResourceMonitor {
  return create(ResourceMonitorSchema, { name, configType: { case: 'typedConfig', value } })
}
