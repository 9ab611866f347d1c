/**
 * What a workload gets whose outbound connections are redirected to its proxy: one listener with a chain for each way
 * to call a service (capture-matcher.ts chooses), the clusters behind them, and routes by host.
 * Who is called by an address is that address's service, whatever `Host` says; only where the address is nobody's does
 * the host decide.
 */
import { create } from '@bufbuild/protobuf'
import type { Cluster } from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TrafficDirection } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type Filter,
  type FilterChain,
  FilterChainSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  type Listener,
  ListenerSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import type { RouteConfiguration } from '../../../proto/gen/envoy/config/route/v3/route_pb.js'
import { OriginalDstSchema } from '../../../proto/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js'
import type { Capture, Destination, ServicePort } from '../model/mesh.ts'
import { buildOutboundTcpLogs } from './access-log.ts'
import { buildCaptureMatcher } from './capture-matcher.ts'
import {
  BLOCKED,
  CAPTURE_LISTENER,
  directName,
  hostName,
  PASSED,
  plainDirectName,
  vipName,
} from './capture-names.ts'
import { buildHostRoute, hostPortsOf } from './capture-route.ts'
import {
  buildBlockedCluster,
  buildDirectCluster,
  buildPassedCluster,
  buildPlainDirectCluster,
} from './cluster.ts'
import { pack, socketAddress } from './encode.ts'
import { buildServiceHttp, type Caller } from './http-connection-manager.ts'
import * as limits from './limits.ts'
import { buildServiceRoute } from './route.ts'
import { buildServiceTcp, toTcpProxy } from './tcp-proxy.ts'

export interface CaptureParts {
  readonly listeners: readonly Listener[]
  /** To be called by EDS, as outbound ports call theirs. */
  readonly destinations: readonly Destination[]
  readonly clusters: readonly Cluster[]
  readonly routes: readonly RouteConfiguration[]
}

/** `namespace` is the caller's: short host names are those of its own services. */
export function buildCapture(capture: Capture, namespace: string, caller: Caller): CaptureParts {
  const { mesh } = caller
  const { services, mode } = capture
  const ports = services.flatMap((service) => service.ports)
  const takes = (isPlain: boolean) => (port: ServicePort) =>
    port.endpoints.some(({ mtls }) => (mtls === 'DISABLE') === isPlain)
  const direct = ports.filter(takes(false))
  const plain = ports.filter(takes(true))
  const vips = services.filter(({ addresses }) => addresses.length > 0).flatMap((s) => s.ports)
  const hosts = hostPortsOf(services)
  return {
    listeners: [buildListener(capture, { direct, plain, vips, hosts: [...hosts.keys()] }, caller)],
    destinations: [...vips, ...ports.filter(isHttp)],
    clusters: [
      ...direct.map((port) => buildDirectCluster(port, mesh)),
      ...plain.map((port) => buildPlainDirectCluster(port, mesh)),
      buildBlockedCluster(BLOCKED),
      ...(mode === 'AllowAny' ? [buildPassedCluster(PASSED)] : []),
    ],
    routes: [
      ...direct.filter(isHttp).map((port) => buildServiceRoute(port, directName(port))),
      ...plain.filter(isHttp).map((port) => buildServiceRoute(port, plainDirectName(port))),
      ...vips.filter(isHttp).map((port) => buildServiceRoute(port)),
      ...[...hosts].map(([port, named]) => buildHostRoute(port, named, { namespace, mode })),
    ],
  }
}

interface Chains {
  readonly direct: readonly ServicePort[]
  /** As `direct`, for endpoints that take plaintext only. */
  readonly plain: readonly ServicePort[]
  readonly vips: readonly ServicePort[]
  readonly hosts: readonly number[]
}

function buildListener(
  capture: Capture,
  { direct, plain, vips, hosts }: Chains,
  caller: Caller,
): Listener {
  const headers = largest(capture.services.flatMap((service) => service.ports))
  return create(ListenerSchema, {
    name: CAPTURE_LISTENER,
    address: socketAddress(capture.address, capture.port),
    trafficDirection: TrafficDirection.OUTBOUND,
    perConnectionBufferLimitBytes: limits.CONNECTION_BUFFER_BYTES,
    tcpBacklogSize: limits.TCP_BACKLOG,
    enableReusePort: false,
    listenerFilters: [
      {
        name: 'envoy.filters.listener.original_dst',
        configType: { case: 'typedConfig', value: pack(OriginalDstSchema, {}) },
      },
    ],
    filterChainMatcher: buildCaptureMatcher(capture, hosts),
    filterChains: [
      ...vips.map((port) => buildServiceChain(vipName(port), port, caller)),
      ...direct.map((port) => buildServiceChain(directName(port), port, caller)),
      ...plain.map((port) => buildServiceChain(plainDirectName(port), port, caller)),
      ...hosts.map((port) =>
        buildChain(hostName(port), buildServiceHttp({ ...caller, route: hostName(port) }, headers)),
      ),
      buildChain(BLOCKED, buildPlainTcp(BLOCKED, caller)),
      ...(capture.mode === 'AllowAny' ? [buildChain(PASSED, buildPlainTcp(PASSED, caller))] : []),
    ],
  })
}

function buildServiceChain(name: string, port: Destination, caller: Caller): FilterChain {
  const { traffic } = port
  return buildChain(
    name,
    isHttp(port)
      ? buildServiceHttp({ ...caller, route: name }, traffic?.limits)
      : buildServiceTcp({ mesh: caller.mesh, cluster: name }, traffic),
  )
}

function buildChain(name: string, filter: Filter): FilterChain {
  return create(FilterChainSchema, { name, filters: [filter] })
}

function buildPlainTcp(name: string, { mesh }: Caller): Filter {
  return toTcpProxy({
    statPrefix: name,
    clusterSpecifier: { case: 'cluster', value: name },
    accessLog: buildOutboundTcpLogs(mesh),
  })
}

function isHttp({ protocol }: Destination): boolean {
  return protocol !== 'TCP'
}

/** Behind one chain are many services: it lets through what any of them takes. */
function largest(ports: readonly Destination[]) {
  const bytes = ports.map(({ traffic }) => traffic?.limits?.maxRequestHeaderBytes ?? 0)
  return { maxRequestHeaderBytes: Math.max(0, ...bytes) }
}
