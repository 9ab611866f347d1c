/**
 * The mesh as values: no Kubernetes, no Envoy words. `core/translate` makes it, `core/xds`, `core/bundle` and
 * `core/status` read it. Immutable; equal manifests make an equal model, whatever their order.
 */
import type { Problem } from '../../../common/errors.ts'
import type { PolicyMode, PolicySet } from '../../../common/policy-set.ts'
import type { BackendTraffic, InboundLimits } from './traffic.ts'

export type Protocol = 'HTTP' | 'HTTP2' | 'GRPC' | 'TCP'
export type MtlsMode = 'STRICT' | 'PERMISSIVE' | 'DISABLE'
export type OutboundMode = 'RegistryOnly' | 'AllowAny'
export type TlsVersion = 'TLSv1_2' | 'TLSv1_3'

export interface MeshSettings {
  readonly trustDomain: string
  readonly trustDomainAliases: readonly string[]
  readonly defaultAction: 'ALLOW' | 'DENY'
  readonly defaultMode: PolicyMode
  readonly mtlsMode: MtlsMode
  readonly tlsMinVersion: TlsVersion
  /** What becomes of captured calls to addresses that no service has. */
  readonly outboundMode: OutboundMode
  /** Name of the CertificateAuthority that signs. */
  readonly certificateAuthority: string
  readonly svidLifetimeSeconds: number
  readonly accessLog: AccessLogMode
  /** Absent: no traces. */
  readonly tracing?: TracingSettings
}

export type AccessLogMode = 'All' | 'Denied' | 'Off'

export interface TracingSettings {
  /** `host:port` of the collector. */
  readonly endpoint: string
  /** 0 to 100. */
  readonly samplingPercent: number
}

export interface CertificateAuthoritySettings {
  readonly name: string
  readonly keyAlgorithm: 'ECDSA-P256'
  readonly rootLifetimeSeconds: number
  readonly maxSvidLifetimeSeconds: number
}

/** One port that the workload serves. Envoy listens on `address:port` and forwards to `appAddress:appPort`. */
export interface InboundPort {
  readonly name: string
  readonly address: string
  readonly port: number
  readonly appAddress: string
  readonly appPort: number
  readonly protocol: Protocol
  /** TCP only: the server may speak first, so a connection is decided before the app sees it, not on its first byte. */
  readonly serverFirst: boolean
  /** From which address the app is called. Absent: from any. */
  readonly appSource?: string
  readonly mtls: MtlsMode
  /** Absent: the defaults. */
  readonly limits?: InboundLimits
}

/** One endpoint of a destination: another workload's inbound port. */
export interface Endpoint {
  readonly address: string
  readonly port: number
  /** What the endpoint takes. Plaintext is spoken to `DISABLE` only, mutual TLS to all others. */
  readonly mtls: MtlsMode
  /** Not ready: called by those only who call its own address. Absent: it is ready. */
  readonly isReady?: false
}

/** A port of a service, as callers see it. */
export interface Destination {
  readonly destination: {
    readonly namespace: string
    readonly service: string
    readonly port: string
  }
  readonly protocol: Protocol
  readonly endpoints: readonly Endpoint[]
  /** SPIFFE ids that the server may have (secure naming); sorted. Empty: no server is trusted. */
  readonly serverIds: readonly string[]
  /** How it is called. Absent: as the defaults say. */
  readonly traffic?: BackendTraffic
}

/** One local port by which the app reaches a service; Envoy listens on `address:port`. */
export interface OutboundPort extends Destination {
  readonly name: string
  readonly address: string
  readonly port: number
}

/** Those who just call see services by a virtual address, a host name, or an endpoint's own address. */
export interface ServicePort extends Destination {
  /** The number by which it is called at the service's addresses and hosts. */
  readonly number: number
}

export interface Service {
  readonly namespace: string
  readonly name: string
  /** Beside the names that every service has (`hostsOf`); lower case, sorted. */
  readonly hosts: readonly string[]
  /** Virtual addresses, canonical, sorted. None: headless. */
  readonly addresses: readonly string[]
  /** By name. */
  readonly ports: readonly ServicePort[]
}

/** The app's connections come to `address:port` with the address that they were meant for. */
export interface Capture {
  readonly address: string
  readonly port: number
  readonly mode: OutboundMode
  /** Every service of the mesh, by namespace and name. */
  readonly services: readonly Service[]
}

/**
 * Whoever connects to any port of the workload comes to `port` of its proxy, with the port that was meant. `address` of
 * its inbound ports is then the app's own.
 */
export interface InboundCapture {
  readonly port: number
  /** The workload's own. */
  readonly appAddress: string
  /** From where the proxy calls the app, so that this is not redirected again. */
  readonly appSource: string
  /** The mode of ports that no inbound port is for. What comes there is TCP, and no rule names the port. */
  readonly otherMtls: MtlsMode
}

export interface Workload {
  readonly namespace: string
  readonly name: string
  /** Stable for the object's life; ends with it. */
  readonly uid: string
  readonly serviceAccount: string
  readonly spiffeId: string
  /** The service that it is an endpoint of, in its namespace. */
  readonly service: string
  /** All services that it is an endpoint of, by name. Absent: `service` alone. */
  readonly services?: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly inbound: readonly InboundPort[]
  readonly outbound: readonly OutboundPort[]
  /** What the app calls is redirected to its proxy. */
  readonly capture?: Capture
  /** What calls the app is redirected to its proxy. */
  readonly inboundCapture?: InboundCapture
  readonly policySet: PolicySet
}

/** `namespace/name`. */
export type WorkloadKey = string

export interface Model {
  readonly mesh: MeshSettings
  readonly certificateAuthority: CertificateAuthoritySettings
  readonly workloads: ReadonlyMap<WorkloadKey, Workload>
}

export interface Translation {
  readonly model: Model | undefined
  readonly problems: readonly Problem[]
}

export function workloadKey(w: { readonly namespace: string; readonly name: string }): WorkloadKey {
  return `${w.namespace}/${w.name}`
}

/** The xDS `node.id` of a workload's proxy: `<namespace>/<name>/<uid>` (DESIGN §3). */
export function nodeId(w: { namespace: string; name: string; uid: string }): string {
  return `${w.namespace}/${w.name}/${w.uid}`
}
