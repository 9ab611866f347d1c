/** IP addresses of manifests in one canonical form, so that equal addresses are equal text. */
import ipaddr from 'ipaddr.js'
import { formatIp, parseIp } from '../crd/net.ts'

/** Canonical text of an IPv4 or IPv6 literal, or undefined for anything else and for `0.0.0.0` and `::`. */
export function canonicalAddress(text: string): string | undefined {
  const address = parseIp(text)
  if (address === undefined || address.bytes.every((byte) => byte === 0)) return undefined
  return formatIp(address)
}

/** `address` is canonical. */
export function isLoopback(address: string): boolean {
  return ipaddr.parse(address).range() === 'loopback'
}
