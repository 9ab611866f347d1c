/**
 * Names of the resources of one proxy. They stand in logs, metrics and config dumps, so they say what a thing is.
 * Inbound and outbound listeners are named by port: a workload has one of each per port (core/translate sees to it).
 */
import type { Destination, InboundPort, MtlsMode } from '../model/mesh.ts'

/**
 * How a connection reached an inbound port: mesh TLS, no TLS, or TLS that is the app's own and is passed on as it is.
 * Each has its own filter chain and its own deciding filters.
 */
export type Transport = 'tls' | 'plaintext' | 'passthrough'

/** What mesh proxies offer as ALPN, so that a PERMISSIVE port tells their TLS from an app's own. */
export const MESH_ALPN = 'postern'

/** Stands for every port that no inbound port is for, where all are captured. */
export const OTHER_PORT = 0

/** Clusters of the sidecar itself, in Envoy's bootstrap (sidecar/core/envoy). */
export const AUTHZ_CLUSTER = 'postern_authz'
export const ACCESS_LOG_CLUSTER = 'postern_als'

export function listenerName(direction: 'inbound' | 'outbound', port: number): string {
  return `${direction}/${port}`
}

/** The cluster of the app behind an inbound port. */
export function appClusterName(port: InboundPort): string {
  return `inbound/${port.port}`
}

/** The cluster of a destination's port; two outbound ports to one destination share it. */
export function serviceClusterName({ destination }: Destination): string {
  return `outbound/${destination.namespace}/${destination.service}/${destination.port}`
}

/** The internal listener that decides about a server-first port's connections, and the cluster that leads to it. */
export function decideName(port: number, transport: Transport): string {
  return `decide/${port}/${transport}`
}

/** The internal listener, and its cluster, that a server-first port's admitted connections go on to. */
export function admitName(port: number): string {
  return `admit/${port}`
}

/** What decides in an inbound HTTP chain, delivered by ECDS. */
export function authzName(port: number, transport: Transport): string {
  return `authz/${port}/${transport}`
}

/** What decides in an inbound TCP chain, likewise; in an HTTP chain of sidecars before `authz/chain`, slot 1 and slot 2. */
export function rbacName(port: number, transport: Transport): string {
  return `rbac/${port}/${transport}`
}

export function extAuthzName(port: number, transport: Transport): string {
  return `ext_authz/${port}/${transport}`
}

const TRANSPORTS: Readonly<Record<MtlsMode, readonly Transport[]>> = {
  STRICT: ['tls'],
  PERMISSIVE: ['tls', 'plaintext', 'passthrough'],
  DISABLE: ['plaintext'],
}

/** The transports that an inbound port takes. */
export function transportsOf(port: InboundPort): readonly Transport[] {
  return TRANSPORTS[port.mtls]
}

/** Whether a chain carries bytes that only rules on TCP can judge: all of them, where Envoy can't read what they are. */
export function isTcpChain(port: InboundPort, transport: Transport): boolean {
  return port.protocol === 'TCP' || transport === 'passthrough'
}

/** Transports whose connections are decided before a byte has come. TLS passed through is begun by the client. */
export function decidedAtOnce(port: InboundPort): readonly Transport[] {
  return port.serverFirst ? transportsOf(port).filter((t) => t !== 'passthrough') : []
}
