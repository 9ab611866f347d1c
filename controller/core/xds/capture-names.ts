/** Names of what a capture listener is made of; they stand in metrics and config dumps. */
import type { Destination } from '../model/mesh.ts'
import { serviceClusterName } from './names.ts'

export const CAPTURE_LISTENER = 'outbound/capture'

/** Where a destination that no service has goes, by the Mesh's mode. */
export const BLOCKED = 'outbound/blocked'
export const PASSED = 'outbound/passed'

/** By a service's virtual address: its endpoints, any of them. */
export function vipName(port: Destination): string {
  return serviceClusterName(port)
}

/** By an endpoint's own address: that endpoint. */
export function directName(port: Destination): string {
  return serviceClusterName(port).replace(/^outbound/, 'direct')
}

/** The same, for endpoints that take plaintext only. */
export function plainDirectName(port: Destination): string {
  return `${directName(port)}/plaintext`
}

/** By the host that an HTTP request names, for one number of a port. */
export function hostName(port: number): string {
  return `host/${port}`
}
