/**
 * One listener for all that comes for a workload whose inbound connections are redirected to its proxy: a chain for each
 * port and each way to reach it, and chains for every port that nobody named. A matcher beside the chains chooses by the
 * port that was meant, then as for a single port (chain-matcher.ts), so that a change of one port's mode, or a port more,
 * ends no connection of another.
 *
 *   a port that is declared, or that a policy names → its own chains
 *   the capture port itself                         → closed: whoever connects to it was not redirected
 *   any other port                                  → TCP, by the workload's own mode, to where it was meant
 */
import { create } from '@bufbuild/protobuf'
import type { Cluster } from '../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TrafficDirection } from '../../../proto/gen/envoy/config/core/v3/base_pb.js'
import {
  type FilterChain,
  FilterChainSchema,
  type ListenerFilter,
  type ListenerFilterChainMatchPredicate,
  ListenerFilterChainMatchPredicateSchema,
  ListenerFilterSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import {
  type Listener,
  ListenerSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { OriginalDstSchema } from '../../../proto/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js'
import { TlsInspectorSchema } from '../../../proto/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import { DestinationPortInputSchema } from '../../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import {
  type Matcher,
  type Matcher_OnMatch,
  Matcher_OnMatchSchema,
  MatcherSchema,
} from '../../../proto/gen/xds/type/matcher/v3/matcher_pb.js'
import type { InboundCapture, InboundPort } from '../model/mesh.ts'
import { buildChainMatcher } from './chain-matcher.ts'
import { buildAppSource, buildBlockedCluster, buildPassedCluster } from './cluster.ts'
import { duration, extension, pack, socketAddress, toChain } from './encode.ts'
import type { Callee } from './http-connection-manager.ts'
import * as limits from './limits.ts'
import { buildChain } from './listener-inbound.ts'
import { appClusterName, OTHER_PORT, transportsOf } from './names.ts'
import { toTcpProxy } from './tcp-proxy.ts'

export const INBOUND_CAPTURE_LISTENER = 'inbound/capture'
const CLOSED = 'inbound/closed'

/** What stands for every port that nobody named. */
export function otherPort(capture: InboundCapture, appAddress: string): InboundPort {
  return {
    name: 'other',
    address: appAddress,
    port: OTHER_PORT,
    appAddress,
    appPort: OTHER_PORT,
    protocol: 'TCP',
    serverFirst: false,
    mtls: capture.otherMtls,
  }
}

/** `ports` hold the one that stands for all others. */
export function buildInboundCapture(
  capture: InboundCapture,
  ports: readonly InboundPort[],
  callee: Callee,
): Listener {
  const isV6 = capture.appAddress.includes(':')
  return create(ListenerSchema, {
    name: INBOUND_CAPTURE_LISTENER,
    address: socketAddress(isV6 ? '::' : '0.0.0.0', capture.port),
    trafficDirection: TrafficDirection.INBOUND,
    perConnectionBufferLimitBytes: limits.CONNECTION_BUFFER_BYTES,
    tcpBacklogSize: limits.TCP_BACKLOG,
    enableReusePort: false,
    ...buildListenerFilters(ports),
    filterChainMatcher: buildPortMatcher(capture, ports),
    filterChains: [...ports.flatMap((port) => buildChains(port, callee)), buildClosedChain()],
  })
}

/** Beside those of the declared ports: where other ports lead, and where nothing leads. */
export function buildCaptureClusters(
  capture: InboundCapture,
  other: InboundPort,
): readonly Cluster[] {
  const source = buildAppSource(capture.appSource)
  return [{ ...buildPassedCluster(appClusterName(other)), ...source }, buildBlockedCluster(CLOSED)]
}

function buildChains(port: InboundPort, callee: Callee): readonly FilterChain[] {
  return transportsOf(port).map((transport) => ({
    ...buildChain(port, transport, callee),
    name: chainName(port, transport),
  }))
}

function chainName({ port }: InboundPort, transport: string): string {
  return `${port === OTHER_PORT ? 'other' : port}/${transport}`
}

function buildClosedChain(): FilterChain {
  const closed = { case: 'cluster', value: CLOSED } as const
  return create(FilterChainSchema, {
    name: CLOSED,
    filters: [toTcpProxy({ statPrefix: CLOSED, clusterSpecifier: closed })],
  })
}

function buildPortMatcher(capture: InboundCapture, ports: readonly InboundPort[]): Matcher {
  const named = ports.filter(({ port }) => port !== OTHER_PORT)
  const other = ports.find(({ port }) => port === OTHER_PORT)
  const map = {
    ...Object.fromEntries(named.map((port) => [String(port.port), toTransport(port)])),
    [String(capture.port)]: toChain(CLOSED),
  }
  return create(MatcherSchema, {
    matcherType: {
      case: 'matcherTree',
      value: {
        input: extension('destination_port', DestinationPortInputSchema, {}),
        treeType: { case: 'exactMatchMap', value: { map } },
      },
    },
    onNoMatch: other === undefined ? toChain(CLOSED) : toTransport(other),
  })
}

function toTransport(port: InboundPort): Matcher_OnMatch {
  const matcher = buildChainMatcher(port.mtls, (transport) => chainName(port, transport))
  return create(Matcher_OnMatchSchema, { onMatch: { case: 'matcher', value: matcher } })
}

/** On a port that takes no TLS nobody may have to wait for it: a client of a server-first app sends nothing. */
function buildListenerFilters(ports: readonly InboundPort[]) {
  const taking = ports.filter(({ mtls }) => mtls !== 'DISABLE')
  const mayWait = ports.some((port) => port.serverFirst && port.mtls === 'PERMISSIVE')
  return {
    listenerFilters: [
      toFilter('envoy.filters.listener.original_dst', pack(OriginalDstSchema, {})),
      ...(taking.length === 0 ? [] : [buildTlsInspector(ports)]),
    ],
    listenerFiltersTimeout: duration(
      mayWait ? limits.SILENT_PLAINTEXT_MS : limits.LISTENER_FILTERS_TIMEOUT_MS,
    ),
    continueOnListenerFiltersTimeout: mayWait,
  }
}

function buildTlsInspector(ports: readonly InboundPort[]): ListenerFilter {
  const filter = toFilter('envoy.filters.listener.tls_inspector', pack(TlsInspectorSchema, {}))
  const plain = ports.filter(({ mtls }) => mtls === 'DISABLE')
  if (plain.length === 0) return filter
  const isOtherPlain = plain.some(({ port }) => port === OTHER_PORT)
  const named = (isOtherPlain ? ports.filter((p) => !plain.includes(p)) : plain).map(onPort)
  const any = named.length === 1 && named[0] !== undefined ? named[0] : anyOf(named)
  return { ...filter, filterDisabled: isOtherPlain ? not(any) : any }
}

function toFilter(name: string, value: ReturnType<typeof pack>): ListenerFilter {
  return create(ListenerFilterSchema, { name, configType: { case: 'typedConfig', value } })
}

function onPort({ port }: InboundPort): ListenerFilterChainMatchPredicate {
  return create(ListenerFilterChainMatchPredicateSchema, {
    rule: { case: 'destinationPortRange', value: { start: port, end: port + 1 } },
  })
}

function anyOf(
  rules: readonly ListenerFilterChainMatchPredicate[],
): ListenerFilterChainMatchPredicate {
  return create(ListenerFilterChainMatchPredicateSchema, {
    rule: { case: 'orMatch', value: { rules: [...rules] } },
  })
}

function not(rule: ListenerFilterChainMatchPredicate): ListenerFilterChainMatchPredicate {
  return create(ListenerFilterChainMatchPredicateSchema, {
    rule: { case: 'notMatch', value: rule },
  })
}
