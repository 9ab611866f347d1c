/** IP addresses of manifests in one canonical form, so that equal addresses are equal text. */
import { formatIp, isLoopbackIp, parseIp } from '../crd/net.ts'

/** Canonical text of an IPv4 or IPv6 literal, or undefined for anything else and for `0.0.0.0` and `::`. */
export function canonicalAddress(text: string): string | undefined {
  const address = parseIp(text)
  if (address === undefined || address.bytes.every((byte) => byte === 0)) return undefined
  return formatIp(address)
}

/** `address` is canonical. */
export function isLoopback(address: string): boolean {
  const parsed = parseIp(address)
  return parsed !== undefined && isLoopbackIp(parsed)
}
